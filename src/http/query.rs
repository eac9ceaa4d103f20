//! The parameters of a request, each read by its name. What is wrong with one is said with what to write instead.

use std::str::FromStr;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::response::problem;
use borges_org::suggest;

/// What stands behind the `?`.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

/// A sentence that says what to write.
type Wrong = String;

/// Opens the doors, on any route.
const TOKEN: &str = "token";

impl Query {
    /// The query of a request to a route that knows these parameters.
    pub(super) fn parse(request: &HttpRequest, known: &[&str]) -> Result<Self, Wrong> {
        Self::read(request.query_string(), known)
    }

    fn read(query: &str, known: &[&str]) -> Result<Self, Wrong> {
        let web::Query(fields) = web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|error| format!("The query cannot be read: {error}."))?;
        // One that ends in a point begins the names of many.
        let is = |name: &str, known: &str| name == known || known.ends_with('.') && name.starts_with(known);
        let unknown =
            |(name, _): &&(String, String)| !known.iter().any(|known| is(name, known)) && name != TOKEN;
        if let Some((name, _)) = fields.iter().find(unknown) {
            let near = match (suggest(name, known.iter().copied()), known) {
                (Some(near), _) => format!(" Did you mean `{near}`?"),
                (None, []) => " It knows none.".to_owned(),
                (None, known) => format!(" It knows `{}`.", known.join("`, `")),
            };
            return Err(format!("This route knows no parameter `{}`.{near}", shown(name)));
        }
        Ok(Self(fields))
    }

    /// All values of a parameter that may come several times.
    pub(super) fn get_all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    /// The parameters whose names begin with `prefix`, without it.
    pub(super) fn with_prefix<'q>(&'q self, prefix: &'q str) -> impl Iterator<Item = (&'q str, &'q str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// The value of a parameter; `what` it is, with an example, is told to who writes another one.
    pub(super) fn get<T: FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Wrong> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(format!("`{name}` comes twice: write it once."));
        }
        value.parse().map(Some).map_err(|_| no_value(name, value, what))
    }

    /// A number from `least` to `most`; a sign, or an empty value, is none.
    pub(super) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Wrong> {
        let what = if most >= i64::MAX.unsigned_abs() {
            format!("a whole number, from {least}")
        } else {
            format!("a whole number from {least} to {most}")
        };
        let Some(text) = self.get::<String>(name, &what)? else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (least..=most).contains(number));
        number.map(Some).ok_or_else(|| no_value(name, &text, &what))
    }

    /// Whether it is wanted: `1` or `0`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Wrong> {
        let wanted = self.get::<String>(name, "`1` or `0`")?;
        match wanted.as_deref() {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(no_value(name, other, "`1` or `0`")),
        }
    }
}

/// The request is wrong, and this sentence says how.
pub(super) fn bad_request(request: &HttpRequest, wrong: &str) -> HttpResponse {
    problem(request, StatusCode::BAD_REQUEST, wrong)
}

fn no_value(name: &str, value: &str, what: &str) -> Wrong {
    format!("`{}` is no value of `{name}`: write {what}.", shown(value))
}

/// Of what came, what fits into a sentence.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
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
    fn what_is_right_is_read(
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
    fn what_is_wrong_says_what_to_write(#[case] query: &str, #[case] said: &str) {
        assert_eq!(page(query), Err(said.to_owned()));
    }
}
