//! Pages of other origins that may ask (CORS, fetch.spec.whatwg.org): none, unless the settings name them.
//!
//! poem has a middleware for it, which is not used: it refuses the pages of the server itself, where they are not listed, for browsers
//! send their origin, too; it tells caches of what depends on the origin only sometimes (`Vary`); and one allowed header of a preflight
//! allows all.

use engine::{Code, Error, Result};
use poem::http::header::{self, HeaderMap, HeaderValue};
use poem::http::{Method, StatusCode, Uri};
use poem::{Request, Response};

use super::trace::RequestIds;
use super::wire;
use crate::error::bad_input;

/// Most origins.
const ORIGINS_MAX: usize = 100;
/// What may be asked, with which headers, what of the answer is seen, and for how many seconds that is known.
const METHODS: &str = "GET, HEAD, POST";
const HEADERS: &str = "accept, authorization, content-encoding, content-type, idempotency-key, if-none-match, producer, sequence, \
     traceparent, x-api-key";
const EXPOSED: &str = "etag, idempotency-replayed, retry-after, x-colonnade-cost, x-colonnade-dataset, x-colonnade-end-cursor, \
     x-colonnade-has-next-page, x-colonnade-rows, x-colonnade-version, x-request-id, x-trace-id";
const KNOWN_SECONDS: &str = "3600";

/// Whose pages may ask.
#[derive(Clone, Debug)]
pub struct CorsOptions {
    /// Their origins; none for those of anybody.
    origins: Option<Vec<String>>,
    /// Whether they may ask with what the browser has for this server, as a certificate.
    credentials: bool,
}

impl CorsOptions {
    /// Pages of these origins, or of anybody for `*`. Fails where one is no origin as browsers send it.
    pub fn new(origins: &[String]) -> Result<Self> {
        if origins.is_empty() || origins.len() > ORIGINS_MAX {
            let found = origins.len();
            return Err(bad_input(format!("origins: expected 1 to {ORIGINS_MAX}, found {found}")));
        }
        if origins == ["*"] {
            return Ok(Self { origins: None, credentials: false });
        }
        for origin in origins {
            check(origin).map_err(|expected| {
                bad_input(format!("origins: {origin:?}: expected {expected}"))
            })?;
        }
        Ok(Self { origins: Some(origins.to_vec()), credentials: false })
    }

    /// The same, and the browser may send what it has for this server. Fails where that would be for anybody's pages.
    pub fn with_credentials(self) -> Result<Self> {
        match self.origins {
            Some(_) => Ok(Self { credentials: true, ..self }),
            None => Err(bad_input(
                "credentials: expected origins by name, for with \"*\" any page could ask as whoever looks at it",
            )),
        }
    }
}

/// Fails with what was expected where `origin` is not as browsers send it.
fn check(origin: &str) -> Result<(), &'static str> {
    const FORM: &str = "SCHEME://HOST or SCHEME://HOST:PORT in small letters, such as https://app.example.org, and nothing behind it";
    let (scheme, authority) = origin.split_once("://").ok_or(FORM)?;
    let parsed: Uri = origin.parse().map_err(|_| FORM)?;
    let is_whole = parsed.authority().is_some_and(|found| found.as_str() == authority);
    let is_plain =
        !authority.contains(['@', '*']) && !origin.chars().any(|c| c.is_ascii_uppercase());
    if !is_whole || !is_plain || parsed.scheme_str() != Some(scheme) {
        return Err(FORM);
    }
    match (scheme, parsed.port_u16()) {
        ("https", Some(443)) | ("http", Some(80)) => {
            Err("it without the port, which browsers leave out where it is the usual one")
        }
        _ => Ok(()),
    }
}

/// Pages of other origins, at the door.
#[derive(Clone, Debug, Default)]
pub(super) struct Cors(pub(super) Option<CorsOptions>);

impl Cors {
    /// Whether a page of that origin may ask.
    fn admits(&self, origin: &HeaderValue) -> bool {
        self.0.as_ref().is_some_and(|options| match &options.origins {
            None => true,
            Some(origins) => origins.iter().any(|known| known.as_bytes() == origin.as_bytes()),
        })
    }

    /// Whether such a page may ask with what its browser has for this server.
    pub(super) fn trusts(&self, origin: &HeaderValue) -> bool {
        self.0.as_ref().is_some_and(|options| options.credentials) && self.admits(origin)
    }

    /// The answer to a browser that asks whether it may ask.
    pub(super) fn preflight(&self, request: &Request, ids: &RequestIds) -> Option<Response> {
        self.0.as_ref()?;
        let headers = request.headers();
        let origin = headers.get(header::ORIGIN)?;
        if request.method() != Method::OPTIONS
            || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        if !self.admits(origin) {
            let origin: String =
                String::from_utf8_lossy(origin.as_bytes()).chars().take(80).collect();
            let says = format!(
                "pages of {origin:?} may not ask: the setting server.cors does not list it"
            );
            let error = Error::user(Code::Forbidden, says);
            return Some(wire::failure(StatusCode::FORBIDDEN, &error, ids));
        }
        Some(
            Response::builder()
                .status(StatusCode::NO_CONTENT)
                .header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
                .header(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS)
                .header(header::ACCESS_CONTROL_MAX_AGE, KNOWN_SECONDS)
                .body(()),
        )
    }

    /// Tells the browser of a page of `origin`, if it is of one, whether the page may see an answer, and caches that it depends on that.
    pub(super) fn tell(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let Some(options) = &self.0 else { return };
        if options.origins.is_some() {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = origin.filter(|origin| self.admits(origin)) else { return };
        let told = match options.origins {
            Some(_) => origin.clone(),
            None => HeaderValue::from_static("*"),
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, told);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        if options.credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn origins_are_as_browsers_send_them() {
        let of = |origin: &str| CorsOptions::new(&[origin.to_owned()]).map(drop);
        for good in ["https://app.example.org", "http://localhost:3000", "https://[::1]:8443", "*"]
        {
            of(good).unwrap();
        }
        for bad in [
            "",
            "null",
            "app.example.org",
            "https://",
            "https://app.example.org/",
            "https://app.example.org/app",
            "https://app.example.org?a",
            "https://App.example.org",
            "https://*.example.org",
            "https://who@app.example.org",
            "https://app.example.org:443",
            "http://app.example.org:80",
        ] {
            let error = of(bad).unwrap_err().to_string();
            assert!(error.contains("expected") && error.contains(bad), "{bad}: {error}");
        }
        assert!(CorsOptions::new(&[]).is_err());
        let several = ["*".to_owned(), "https://app.example.org".to_owned()];
        assert!(CorsOptions::new(&several).is_err());
        let anybody = CorsOptions::new(&["*".to_owned()]).unwrap();
        assert!(anybody.with_credentials().unwrap_err().to_string().contains("by name"));
    }

    #[test]
    fn only_who_is_listed_with_credentials_is_trusted() {
        let options = CorsOptions::new(&["https://app.example.org".to_owned()]).unwrap();
        let (listed, other) = ("https://app.example.org", "https://app.example.org.evil");
        let [listed, other] = [listed, other].map(HeaderValue::from_static);
        assert!(!Cors(Some(options.clone())).trusts(&listed));
        let cors = Cors(Some(options.with_credentials().unwrap()));
        assert!(cors.trusts(&listed) && !cors.trusts(&other));
        assert!(!Cors::default().trusts(&listed));
        assert!(!Cors(CorsOptions::new(&["*".to_owned()]).ok()).trusts(&listed));
    }
}
