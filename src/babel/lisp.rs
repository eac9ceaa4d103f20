//! Reads Lisp data as Emacs' reader does. Nothing is evaluated.

use super::value::Value;

/// How deep lists may stand within each other; Emacs has a limit of its own.
const MAX_DEPTH: usize = 200;

/// Reads the first datum of `text`; returns it, and what follows it. `None` where Emacs' reader stops at an error.
pub(super) fn read(text: &str) -> Option<(Value, &str)> {
    let mut reader = Reader { rest: text };
    let value = reader.datum(0)?;
    Some((value, reader.rest))
}

/// The number that `text` is in Emacs' notation, if it is one.
pub(super) fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let until = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let whole = until(digits);
    let after = &digits[whole..];
    let (rest, point) = after.strip_prefix('.').map_or((after, false), |rest| (rest, true));
    let fraction = until(rest);
    let exponent = &rest[fraction..];
    if exponent.is_empty() && whole > 0 && fraction == 0 {
        let plain = text.trim_end_matches('.');
        let plain = plain.strip_prefix('+').unwrap_or(plain);
        return Some(plain.parse().map_or_else(|_| big_integer(plain), Value::Integer));
    }
    if whole + fraction == 0 || point && fraction == 0 && whole == 0 {
        return None;
    }
    match exponent {
        "" => text.parse().ok().map(Value::Float),
        "e+INF" if point => {
            Some(Value::Float(if text.starts_with('-') { -f64::INFINITY } else { f64::INFINITY }))
        }
        "e+NaN" if point => Some(Value::Float(if text.starts_with('-') { -f64::NAN } else { f64::NAN })),
        _ => {
            let power = exponent.strip_prefix('e')?;
            let power = power.strip_prefix(['+', '-']).unwrap_or(power);
            let is_power = !power.is_empty() && power.bytes().all(|b| b.is_ascii_digit());
            is_power.then(|| text.parse().ok().map(Value::Float)).flatten()
        }
    }
}

fn big_integer(digits: &str) -> Value {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    Value::BigInteger(format!("{sign}{}", digits.trim_start_matches('0')))
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Goes over blanks and comments.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches(|c: char| c <= ' ' || c == '\u{a0}');
            if !self.rest.starts_with(';') {
                return;
            }
            self.rest = self.rest.find('\n').map_or("", |n| &self.rest[n..]);
        }
    }

    fn datum(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip();
        match self.peek()? {
            '(' => {
                self.next();
                self.list(depth)
            }
            '[' => {
                self.next();
                self.vector(depth)
            }
            ')' | ']' => None,
            '\'' => self.prefixed_datum(1, "quote", depth),
            '`' => self.prefixed_datum(1, "`", depth),
            ',' if self.rest.starts_with(",@") => self.prefixed_datum(2, ",@", depth),
            ',' => self.prefixed_datum(1, ",", depth),
            '#' if self.rest.starts_with("#'") => self.prefixed_datum(2, "function", depth),
            '#' if self.rest.starts_with("##") => {
                self.rest = &self.rest[2..];
                Some(Value::Symbol(String::new()))
            }
            '#' => self.radix(),
            '"' => {
                self.next();
                self.string()
            }
            '?' => {
                self.next();
                self.character()
            }
            _ => self.symbol(),
        }
    }

    fn prefixed_datum(&mut self, length: usize, name: &str, depth: usize) -> Option<Value> {
        self.rest = &self.rest[length..];
        Some(Value::List(vec![Value::Symbol(name.to_owned()), self.datum(depth + 1)?]))
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        loop {
            self.skip();
            if self.peek()? == ')' {
                self.next();
                return Some(Value::list(items));
            }
            // A dot that stands alone.
            let ends = |c: char| c <= ' ' || "\"';([#?`,".contains(c);
            if let Some(after) = self.rest.strip_prefix('.')
                && after.starts_with(ends)
            {
                self.rest = after;
                let end = self.datum(depth + 1)?;
                self.skip();
                if self.next()? != ')' {
                    return None;
                }
                return Some(append_tail(items, end));
            }
            items.push(self.datum(depth + 1)?);
        }
    }

    fn vector(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        loop {
            self.skip();
            if self.peek()? == ']' {
                self.next();
                return Some(Value::Vector(items));
            }
            items.push(self.datum(depth + 1)?);
        }
    }

    fn string(&mut self) -> Option<Value> {
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Some(Value::Text(text)),
                '\\' => self.escape(&mut text)?,
                c => text.push(c),
            }
        }
    }

    /// What follows a backslash within a text.
    fn escape(&mut self, text: &mut String) -> Option<()> {
        let c = match self.next()? {
            // An escaped blank or line end is nothing.
            ' ' | '\n' => return Some(()),
            'a' => '\u{7}',
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'v' => '\u{b}',
            'f' => '\u{c}',
            'r' => '\r',
            'e' => '\u{1b}',
            's' => ' ',
            'd' => '\u{7f}',
            'x' => self.code(16, 0, usize::MAX)?,
            'u' => self.code_point(4)?,
            'U' => self.code_point(8)?,
            c @ '0'..='7' => self.code(8, u32::from(c) - u32::from('0'), 2)?,
            c => c,
        };
        text.push(c);
        Some(())
    }

    /// Up to `limit` more digits of a character's code.
    fn code(&mut self, radix: u32, mut code: u32, limit: usize) -> Option<char> {
        let length = self.rest.chars().take(limit).take_while(|c| c.is_digit(radix)).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        for digit in digits.chars() {
            code = code.checked_mul(radix)?.checked_add(digit.to_digit(radix)?)?;
        }
        // A byte in a text that is no character.
        if (0x80..=0xff).contains(&code) && !digits.is_empty() {
            let byte = u8::try_from(code).ok()?;
            return super::byte_text::decode(&[byte]).chars().next();
        }
        char::from_u32(code)
    }

    fn code_point(&mut self, length: usize) -> Option<char> {
        let code = u32::from_str_radix(self.rest.get(..length)?, 16).ok()?;
        self.rest = &self.rest[length..];
        char::from_u32(code)
    }

    /// `?c`: the character's number.
    fn character(&mut self) -> Option<Value> {
        let c = self.next()?;
        let code = if c == '\\' {
            let mut text = String::new();
            self.escape(&mut text)?;
            text.chars().next()?
        } else {
            c
        };
        let ends = self.peek().is_none_or(|c| c <= ' ' || "\"';()[]#?`,.".contains(c));
        ends.then(|| Value::Integer(i64::from(u32::from(code))))
    }

    /// `#x1f` and its like; other things that begin with a hash are not read.
    fn radix(&mut self) -> Option<Value> {
        let radix = match self.rest.get(1..2)? {
            "x" | "X" => 16,
            "o" | "O" => 8,
            "b" | "B" => 2,
            _ => return None,
        };
        let rest = &self.rest[2..];
        let length =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-".contains(c)).unwrap_or(rest.len());
        let number = i64::from_str_radix(&rest[..length], radix).ok()?;
        self.rest = &rest[length..];
        Some(Value::Integer(number))
    }

    fn symbol(&mut self) -> Option<Value> {
        let mut name = String::new();
        let mut escaped = false;
        while let Some(c) = self.peek() {
            if c <= ' ' || c == '\u{a0}' || "\"';#()[]`,".contains(c) {
                break;
            }
            self.next();
            if c == '\\' {
                escaped = true;
                name.push(self.next()?);
            } else {
                name.push(c);
            }
        }
        if !escaped {
            if let Some(number) = number(&name) {
                return Some(number);
            }
            if name == "nil" {
                return Some(Value::Nil);
            }
            if name == "." {
                return None;
            }
        }
        Some(Value::Symbol(name))
    }
}

fn append_tail(mut items: Vec<Value>, end: Value) -> Value {
    match end {
        end if items.is_empty() => end,
        Value::Nil => Value::list(items),
        Value::List(more) => {
            items.extend(more);
            Value::List(items)
        }
        Value::Dotted(more, end) => {
            items.extend(more);
            Value::Dotted(items, end)
        }
        end => Value::Dotted(items, Box::new(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    // What Emacs 28 says of these.
    #[case("a#b", Some("a"))]
    #[case("a?b", Some("a\\?b"))]
    #[case("?a", Some("97"))]
    #[case("=>1", Some("=>1"))]
    #[case("'a", Some("'a"))]
    #[case("a,b", Some("a"))]
    #[case("1e3", Some("1000.0"))]
    #[case("+5", Some("5"))]
    #[case("1.", Some("1"))]
    #[case("a;b c", Some("a"))]
    #[case("#a", None)]
    #[case("\\a", Some("a"))]
    #[case("a\\ b", Some("a\\ b"))]
    #[case("1.5e-5x", Some("1\\.5e-5x"))]
    #[case("123456789012345678901234567890", Some("123456789012345678901234567890"))]
    #[case("(1 . 2)", Some("(1 . 2)"))]
    #[case("(1 . (2 3))", Some("(1 2 3)"))]
    #[case("(a [1 \"b\\n\"] nil t)", Some("(a [1 \"b\n\"] nil t)"))]
    #[case("(1 2", None)]
    #[case(")", None)]
    #[case("\"a", None)]
    #[case("", None)]
    #[case("()", Some("nil"))]
    #[case("#x1f", Some("31"))]
    fn values_are_read_as_by_emacs(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(read(text).map(|(value, _)| value.prin1()).as_deref(), expected);
    }

    #[test]
    fn depth_is_limited() {
        assert_eq!(read(&"(".repeat(100_000)), None);
    }
}
