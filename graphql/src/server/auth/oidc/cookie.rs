//! Cookies: what a browser keeps, and gives with every request to this server, whoever made it send one.
//!
//! Source: RFC 6265bis. `__Host-` in a name has browsers see to it that the cookie came over TLS, from this very host and for all of
//! it, so that no neighbour under the same domain can put one of its own in the place. On this machine without TLS, where that is of
//! no use, the name is without it.

use engine::{Code, Error, Result};
use poem::http::{HeaderMap, HeaderValue, header};

use super::PublicUrl;

/// Longest cookie that all browsers keep, with its name and all that is said of it.
const COOKIE_BYTES_MAX: usize = 4_093;

/// A cookie of ours.
#[derive(Clone, Debug)]
pub(super) struct Cookie {
    name: String,
    is_secure: bool,
}

impl Cookie {
    /// One that is called so, as far as the address allows.
    pub(super) fn new(name: &str, public: &PublicUrl) -> Self {
        let is_secure = public.is_secure();
        let name = match is_secure {
            true => format!("__Host-{name}"),
            false => name.to_owned(),
        };
        Self { name, is_secure }
    }

    /// Its value among the headers of a request.
    pub(super) fn of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let (_, value) = pairs(headers).find(|(name, _)| *name == self.name)?;
        Some(value)
    }

    /// Has the headers of a request say that this is its value.
    pub(super) fn put(&self, headers: &mut HeaderMap, value: &str) {
        let others = pairs(headers).filter(|(name, _)| *name != self.name);
        let mut all: Vec<String> = others.map(|(name, value)| format!("{name}={value}")).collect();
        all.push(format!("{}={value}", self.name));
        if let Ok(all) = HeaderValue::try_from(all.join("; ")) {
            headers.insert(header::COOKIE, all);
        }
    }

    /// What tells a browser to keep it for so many seconds. Fails where browsers would drop it without a word.
    pub(super) fn set(&self, value: &str, seconds: i64) -> Result<HeaderValue> {
        let secure = match self.is_secure {
            true => "; Secure",
            false => "",
        };
        let text = format!(
            "{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
            self.name,
            seconds.max(0)
        );
        if text.len() > COOKIE_BYTES_MAX {
            return Err(Error::user(
                Code::LimitExceeded,
                format!(
                    "the session: a cookie has {COOKIE_BYTES_MAX} bytes at most, and this one would have {}; expected the provider to \
                     give shorter refresh tokens, or fewer and shorter claims that grants ask for",
                    text.len()
                ),
            ));
        }
        HeaderValue::try_from(text).map_err(|_| Error::internal("a cookie is no header"))
    }

    /// What tells a browser to forget it.
    pub(super) fn forget(&self) -> Result<HeaderValue> {
        self.set("", 0)
    }
}

/// Names and values, in the order in which they came.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let texts = headers.get_all(header::COOKIE).into_iter().filter_map(|text| text.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cookie(public: &str) -> Cookie {
        Cookie::new("colonnade", &PublicUrl::new(public).unwrap())
    }

    #[test]
    fn a_cookie_is_bound_to_its_host_where_there_is_tls() {
        let of_host = cookie("https://colonnade.example.org").set("value", 60).unwrap();
        assert_eq!(
            of_host,
            "__Host-colonnade=value; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        let here = cookie("http://127.0.0.1:8642").set("value", -1).unwrap();
        assert_eq!(here, "colonnade=value; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
        let error = cookie("http://localhost").set(&"x".repeat(4_096), 60).unwrap_err();
        assert_eq!(error.code(), Code::LimitExceeded);
    }

    #[test]
    fn a_value_is_found_and_put_among_others() {
        let cookie = cookie("https://colonnade.example.org");
        let mut headers = HeaderMap::new();
        assert_eq!(cookie.of(&headers), None);
        for text in ["a=1; __Host-colonnadex=0;colonnade=0", "__Host-colonnade=one=; b=2"] {
            headers.append(header::COOKIE, text.parse().unwrap());
        }
        assert_eq!(cookie.of(&headers), Some("one="));
        cookie.put(&mut headers, "two");
        assert_eq!(cookie.of(&headers), Some("two"));
        let all = "a=1; __Host-colonnadex=0; colonnade=0; b=2; __Host-colonnade=two";
        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), [all]);
    }
}
