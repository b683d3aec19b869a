//! The session cookie: find tokens in it, write it, clear it, cut it out of what goes to an app.

use http::HeaderValue;

use super::token::SessionToken;
use crate::web::cookies;

/// More values than this under the session cookie's name are no browser's doing; none of them counts then.
const MOST_LOOKED_AT: usize = 4;

/// When browsers send the cookie along with requests that other sites cause (RFC 6265bis §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Only when a link is followed.
    Lax,
    /// Never.
    Strict,
    /// Always.
    None,
}

/// The name and the properties of the session cookie.
#[derive(Clone, Debug)]
pub struct SessionCookie {
    /// Its name; begins with `__Host-`.
    pub name: String,
    /// Its `SameSite` property.
    pub same_site: SameSite,
}

impl SessionCookie {
    /// The well-formed tokens among the cookies; malformed ones count as none. A browser sends one, but somebody who can
    /// plant cookies may add more: all are looked at, none is preferred.
    pub fn tokens(&self, headers: &http::HeaderMap) -> Vec<SessionToken> {
        let mut tokens = Vec::new();
        for value in cookies::named(headers, &self.name) {
            if tokens.len() == MOST_LOOKED_AT {
                return Vec::new();
            }
            tokens.extend(SessionToken::parse(value));
        }
        tokens
    }

    /// `Set-Cookie` for a new token.
    pub fn set(&self, token: &SessionToken) -> HeaderValue {
        self.write(token.reveal().expose(), "")
    }

    /// `Set-Cookie` that makes the browser forget.
    pub fn clear(&self) -> HeaderValue {
        self.write("", "; Max-Age=0")
    }

    fn write(&self, value: &str, more: &str) -> HeaderValue {
        let same_site = match self.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let text = format!("{}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}{more}", self.name);
        let mut value = HeaderValue::from_str(&text).expect("the name was checked and the rest is ours");
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie() -> SessionCookie {
        SessionCookie { name: "__Host-vestibule".into(), same_site: SameSite::Lax }
    }

    fn headers(cookies: &[&str]) -> http::HeaderMap {
        let values = cookies.iter().map(|cookie| (http::header::COOKIE, HeaderValue::from_str(cookie).unwrap()));
        values.collect()
    }

    #[test]
    fn the_cookie_is_exactly_as_promised() {
        let token = SessionToken::generate();
        let text = cookie().set(&token).to_str().unwrap().to_owned();
        let expected = format!("__Host-vestibule={}; Path=/; Secure; HttpOnly; SameSite=Lax", token.reveal().expose());
        assert_eq!(text, expected);
        let cleared = "__Host-vestibule=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";
        assert_eq!(cookie().clear(), cleared);
    }

    #[test]
    fn all_tokens_are_found_and_malformed_ones_are_none() {
        let (a, b) = (SessionToken::generate(), SessionToken::generate());
        let (a_text, b_text) = (a.reveal(), b.reveal());
        let line = format!("x=1; __Host-vestibule={}; y=2", a_text.expose());
        let other = format!("__Host-vestibule={}; __host-vestibule=zzz", b_text.expose());
        let found = cookie().tokens(&headers(&[&line, &other]));
        assert_eq!(found.iter().map(SessionToken::digest).collect::<Vec<_>>(), [a.digest(), b.digest()]);

        for wrong in ["", "%n", "' OR 1=1", &a_text.expose()[1..], &format!("\"{}\"", a_text.expose())] {
            assert!(cookie().tokens(&headers(&[&format!("__Host-vestibule={wrong}")])).is_empty(), "{wrong}");
        }
    }

    #[test]
    fn a_pile_of_session_cookies_counts_as_none() {
        let pile: Vec<_> =
            (0..5).map(|_| format!("__Host-vestibule={}", SessionToken::generate().reveal().expose())).collect();
        assert!(cookie().tokens(&headers(&[&pile.join("; ")])).is_empty());
    }
}
