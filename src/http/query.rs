//! The query parameters of a request, read by name. Errors say what to write instead.

use std::str::FromStr;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::response::problem;
use borges_org::suggest;

/// The decoded query string.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

/// A sentence that says what is wrong and what to write instead.
type ErrorMessage = String;

/// The parameter with the server's token, which every route accepts.
const TOKEN: &str = "token";

impl Query {
    /// Parses the query of a request. `names` are the parameters of the route.
    pub(super) fn parse(request: &HttpRequest, names: &[&str]) -> Result<Self, ErrorMessage> {
        Self::read(request.query_string(), names)
    }

    fn read(query: &str, names: &[&str]) -> Result<Self, ErrorMessage> {
        let web::Query(fields) = web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|error| format!("The query cannot be read: {error}."))?;
        // A name that ends in `.` is a prefix.
        let matches = |name: &str, declared: &str| {
            name == declared || declared.ends_with('.') && name.starts_with(declared)
        };
        let unknown = |(name, _): &&(String, String)| {
            !names.iter().any(|declared| matches(name, declared)) && name != TOKEN
        };
        if let Some((name, _)) = fields.iter().find(unknown) {
            let suggestion = match (suggest(name, names.iter().copied()), names) {
                (Some(suggestion), _) => format!(" Did you mean `{suggestion}`?"),
                (None, []) => " It knows none.".to_owned(),
                (None, names) => format!(" It knows `{}`.", names.join("`, `")),
            };
            return Err(format!("This route knows no parameter `{}`.{suggestion}", excerpt(name)));
        }
        Ok(Self(fields))
    }

    /// All values of a parameter that may be repeated.
    pub(super) fn get_all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| value.clone()).collect()
    }

    /// The parameters whose names begin with `prefix`, without it.
    pub(super) fn with_prefix<'q>(&'q self, prefix: &'q str) -> impl Iterator<Item = (&'q str, &'q str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// The value of a parameter. `expected` describes a valid value, for the error.
    pub(super) fn get<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, ErrorMessage> {
        let mut values = self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| value);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(format!("`{name}` comes twice: write it once."));
        }
        value.parse().map(Some).map_err(|_| invalid_value(name, value, expected))
    }

    /// A number from `min` to `max`, without a sign.
    pub(super) fn number(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, ErrorMessage> {
        let expected = if max >= i64::MAX.unsigned_abs() {
            format!("a whole number, from {min}")
        } else {
            format!("a whole number from {min} to {max}")
        };
        let Some(text) = self.get::<String>(name, &expected)? else { return Ok(None) };
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_digits && (min..=max).contains(number));
        number.map(Some).ok_or_else(|| invalid_value(name, &text, &expected))
    }

    /// A flag, `1` or `0`. Off if it is missing.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ErrorMessage> {
        let value = self.get::<String>(name, "`1` or `0`")?;
        match value.as_deref() {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(invalid_value(name, other, "`1` or `0`")),
        }
    }
}

/// The response to an invalid request.
pub(super) fn bad_request(request: &HttpRequest, message: &str) -> HttpResponse {
    problem(request, StatusCode::BAD_REQUEST, message)
}

fn invalid_value(name: &str, value: &str, expected: &str) -> ErrorMessage {
    format!("`{}` is no value of `{name}`: write {expected}.", excerpt(value))
}

/// At most 80 characters of a text, escaped.
fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        excerpt.push('…');
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn page(query: &str) -> Result<(Option<u64>, bool, Vec<String>), String> {
        let query = Query::read(query, &["limit", "follow", "name"])?;
        Ok((query.number("limit", 1, 1000)?, query.flag("follow")?, query.get_all("name")))
    }

    #[rstest]
    #[case("", None, false, &[])]
    #[case("limit=1", Some(1), false, &[])]
    #[case("limit=1000&follow=1", Some(1000), true, &[])]
    #[case("follow=0&token=x", None, false, &[])]
    #[case("name=a&name=b%20c", None, false, &["a", "b c"])]
    fn valid_parameters_are_read(
        #[case] query: &str,
        #[case] limit: Option<u64>,
        #[case] follow: bool,
        #[case] names: &[&str],
    ) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(page(query), Ok((limit, follow, names)));
    }

    #[rstest]
    #[case("limit=0", "`0` is no value of `limit`: write a whole number from 1 to 1000.")]
    #[case("limit=-1", "`-1` is no value of `limit`: write a whole number from 1 to 1000.")]
    #[case("limit=%2B1", "`+1` is no value of `limit`: write a whole number from 1 to 1000.")]
    #[case("limit=1001", "`1001` is no value of `limit`: write a whole number from 1 to 1000.")]
    #[case(
        "limit=99999999999999999999999",
        "`99999999999999999999999` is no value of `limit`: write a whole number from 1 to 1000."
    )]
    #[case("limit=", "`` is no value of `limit`: write a whole number from 1 to 1000.")]
    #[case("limit=%00", "`\\0` is no value of `limit`: write a whole number from 1 to 1000.")]
    #[case("limit=1&limit=2", "`limit` comes twice: write it once.")]
    #[case("follow=yes", "`yes` is no value of `follow`: write `1` or `0`.")]
    #[case("folow=1", "This route knows no parameter `folow`. Did you mean `follow`?")]
    #[case("zzzzzz=1", "This route knows no parameter `zzzzzz`. It knows `limit`, `follow`, `name`.")]
    fn invalid_parameters_are_refused_with_a_remedy(#[case] query: &str, #[case] message: &str) {
        assert_eq!(page(query), Err(message.to_owned()));
    }
}
