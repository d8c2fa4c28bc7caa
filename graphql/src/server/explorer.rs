//! GraphiQL at `/`, from the binary itself: it works without a network.
//!
//! The page is GraphiQL 3.9.0 with React 18.3.1, as published on npm (`assets/` holds the files
//! unchanged, with their licences). 3.9.0 is the last release that is one script; later ones need a
//! bundler or a CDN. Subscriptions in the page go over SSE, which needs no further library.

use engine::{Code, Error};
use poem::Response;
use poem::http::{HeaderValue, StatusCode, header};

use super::trace::RequestIds;
use super::wire;

struct Asset {
    name: &'static str,
    media: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($name:literal, $file:literal, $media:literal) => {
        Asset {
            name: $name,
            media: $media,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/", $file)),
        }
    };
}

const ASSETS: [Asset; 7] = [
    asset!("", "index.html", "text/html; charset=utf-8"),
    asset!("explorer.js", "explorer.js", "text/javascript; charset=utf-8"),
    asset!("graphiql.min.js", "graphiql.min.js", "text/javascript; charset=utf-8"),
    asset!("graphiql.min.css", "graphiql.min.css", "text/css; charset=utf-8"),
    asset!("react.production.min.js", "react.production.min.js", "text/javascript; charset=utf-8"),
    asset!(
        "react-dom.production.min.js",
        "react-dom.production.min.js",
        "text/javascript; charset=utf-8"
    ),
    asset!("LICENSES.txt", "LICENSES.txt", "text/plain; charset=utf-8"),
];

/// Scripts and styles of the page's own only; GraphiQL sets style attributes.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      font-src 'self' data:; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
pub(super) fn file(name: &str, ids: &RequestIds) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        let error = Error::user(Code::NotFound, "the explorer has no such file");
        return wire::failure(StatusCode::NOT_FOUND, &error, ids);
    };
    let mut response = wire::body(StatusCode::OK, asset.media, asset.bytes);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // The page changes with the server; its large files do not.
    let lifetime = match asset.bytes.len() > 10_000 {
        true => "public, max-age=86400",
        false => "no-cache",
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(lifetime));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_nothing_that_is_not_here() {
        let page = String::from_utf8_lossy(ASSETS[0].bytes);
        let mut links = 0;
        for attribute in ["src=\"", "href=\""] {
            for link in page.split(attribute).skip(1) {
                let link = link.split('"').next().unwrap_or_default();
                let name = link.strip_prefix("/explorer/").unwrap_or(link);
                assert!(link == "data:," || ASSETS.iter().any(|a| a.name == name), "{link}");
                links += 1;
            }
        }
        assert!(links >= 5);
        let total: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
        assert!(total < 3_000_000, "{total} bytes");
    }
}
