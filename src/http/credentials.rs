//! Where a request carries the token: `Authorization: Bearer`, `?token=`, a cookie.

use std::fmt::Write;

/// The token in the value of an `Authorization` header.
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The token in a query such as `run=1&token=T`, its percent codes decoded.
pub fn query_token(query: &str) -> Option<String> {
    let token = query.split('&').find_map(|field| field.strip_prefix("token="))?;
    let mut decoded = String::with_capacity(token.len());
    let mut rest = token;
    while let Some((plain, behind)) = rest.split_once('%') {
        decoded.push_str(plain);
        // A token is ASCII: what else is encoded is none, and matches none.
        let (code, behind) = behind.split_at_checked(2).filter(|(code, _)| !code.starts_with('+'))?;
        decoded.push(u8::from_str_radix(code, 16).ok().filter(u8::is_ascii).map(char::from)?);
        rest = behind;
    }
    decoded.push_str(rest);
    Some(decoded)
}

/// The token in the value of a `Cookie` header, for the server at `port`.
pub fn cookie_token(cookies: &str, port: u16) -> Option<&str> {
    let name = cookie_name(port);
    cookies.split(';').find_map(|cookie| {
        let (found, token) = cookie.trim().split_once('=')?;
        (found == name).then_some(token)
    })
}

/// The value of the `Set-Cookie` header by which a browser keeps the token until it is closed.
///
/// No page of another site makes a browser send it, and no script reads it.
pub fn set_cookie(token: &str, port: u16) -> String {
    let mut cookie = cookie_name(port);
    // Writing to a string does not fail.
    let _ = write!(cookie, "={token}; Path=/; HttpOnly; SameSite=Strict");
    cookie
}

/// Browsers do not tell a host's ports apart: each server's cookie has a name of its own.
fn cookie_name(port: u16) -> String {
    format!("borges_{port}")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Bearer abc", Some("abc"))]
    #[case("bearer   abc ", Some("abc"))]
    #[case("Basic abc", None)]
    #[case("Bearer", None)]
    #[case("", None)]
    fn of_authorization(#[case] header: &str, #[case] token: Option<&str>) {
        assert_eq!(bearer(header), token);
    }

    #[rstest]
    #[case("token=abc", Some("abc"))]
    #[case("run=1&token=a%2Fb+c%3D&since=2", Some("a/b+c="))]
    #[case("token=", Some(""))]
    #[case("token=%", None)]
    #[case("token=%é1", None)]
    #[case("token=%+1", None)]
    #[case("token=%ff", None)]
    #[case("mytoken=abc", None)]
    #[case("", None)]
    fn of_a_query(#[case] query: &str, #[case] token: Option<&str>) {
        assert_eq!(query_token(query).as_deref(), token);
    }

    #[rstest]
    #[case("borges_8888=abc", Some("abc"))]
    #[case("a=b; borges_8888=a+/b==;c=d", Some("a+/b=="))]
    #[case("borges_9999=abc", None)]
    #[case("xborges_8888=abc; borges_8888", None)]
    #[case("", None)]
    fn of_cookies(#[case] header: &str, #[case] token: Option<&str>) {
        assert_eq!(cookie_token(header, 8888), token);
    }

    #[test]
    fn a_cookie_that_was_set_comes_back() {
        let cookie = set_cookie("abc=", 8888);
        assert_eq!(cookie, "borges_8888=abc=; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(cookie_token(cookie.split_once("; ").unwrap().0, 8888), Some("abc="));
    }
}
