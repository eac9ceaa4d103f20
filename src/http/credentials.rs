//! Extracts the token from a request: from `Authorization: Bearer`, from `?token=`, or from a cookie. Pure.

use std::fmt::Write;

/// The token in the value of an `Authorization` header.
pub(crate) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The token in a query such as `run=1&token=T`, its percent codes decoded.
pub(crate) fn query_token(query: &str) -> Option<String> {
    let token = query.split('&').find_map(|field| field.strip_prefix("token="))?;
    let mut decoded = String::with_capacity(token.len());
    let mut rest = token;
    while let Some((plain, after)) = rest.split_once('%') {
        decoded.push_str(plain);
        // A token is ASCII, so a code of another byte makes it invalid.
        let (code, after) = after.split_at_checked(2).filter(|(code, _)| !code.starts_with('+'))?;
        decoded.push(u8::from_str_radix(code, 16).ok().filter(u8::is_ascii).map(char::from)?);
        rest = after;
    }
    decoded.push_str(rest);
    Some(decoded)
}

/// The token in the value of a `Cookie` header, for the server at `port`.
pub(crate) fn cookie_token(cookies: &str, port: u16) -> Option<&str> {
    let name = cookie_name(port);
    cookies.split(';').find_map(|cookie| {
        let (found, token) = cookie.trim().split_once('=')?;
        (found == name).then_some(token)
    })
}

/// The value of the `Set-Cookie` header by which a browser keeps the token until it is closed.
///
/// `SameSite=Strict` keeps pages of other sites from using the cookie, and `HttpOnly` keeps scripts from reading it.
pub(crate) fn set_cookie(token: &str, port: u16) -> String {
    let mut cookie = cookie_name(port);
    // Writing to a string does not fail.
    let _ = write!(cookie, "={token}; Path=/; HttpOnly; SameSite=Strict");
    cookie
}

/// The name of the cookie. It contains the port, because browsers share cookies between the ports of a host.
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
    fn bearer_tokens_are_read(#[case] header: &str, #[case] token: Option<&str>) {
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
    fn query_tokens_are_decoded(#[case] query: &str, #[case] token: Option<&str>) {
        assert_eq!(query_token(query).as_deref(), token);
    }

    #[rstest]
    #[case("borges_8888=abc", Some("abc"))]
    #[case("a=b; borges_8888=a+/b==;c=d", Some("a+/b=="))]
    #[case("borges_9999=abc", None)]
    #[case("xborges_8888=abc; borges_8888", None)]
    #[case("", None)]
    fn cookie_tokens_are_read_by_port(#[case] header: &str, #[case] token: Option<&str>) {
        assert_eq!(cookie_token(header, 8888), token);
    }

    #[test]
    fn set_cookies_are_read_back() {
        let cookie = set_cookie("abc=", 8888);
        assert_eq!(cookie, "borges_8888=abc=; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(cookie_token(cookie.split_once("; ").unwrap().0, 8888), Some("abc="));
    }
}
