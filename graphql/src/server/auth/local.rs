//! The local user, who needs to show nothing as long as nobody has a key.
//!
//! That user's browser can be made to send requests here by any page it shows, so two more things must be right: the `Host` must be a
//! loopback name (a foreign name that resolves to 127.0.0.1 is refused), and an `Origin` or `Sec-Fetch-Site`, which browsers send and
//! can not be made to forge, must be the server's own: an image has no `Origin`, and its address could be a query.

use std::net::IpAddr;
use std::sync::Arc;

use engine::{Code, Error, Principal, Result};
use futures::future::BoxFuture;
use jobs::KeyRing;
use poem::http::uri::Authority;
use poem::http::{HeaderMap, Uri, header};

use super::{Authenticator, Pass, Shown};

/// Lets the local user in, until there is another way to show who one is.
pub(super) struct LocalUser {
    /// Where keys may come to be while the server runs; none where they are needed from the start.
    pub(super) until: Option<Arc<KeyRing>>,
}

impl LocalUser {
    /// Whether nobody needs a key.
    pub(super) fn is_open(&self) -> bool {
        self.until.as_ref().is_some_and(|keys| !keys.has_had_keys())
    }
}

impl Authenticator for LocalUser {
    fn admit<'a>(&'a self, shown: Shown<'a>) -> BoxFuture<'a, Option<Result<Pass>>> {
        let admitted = match &self.until {
            // Who came so before there was a key has to come again with one.
            Some(keys) if self.is_open() => shown.headers.map(|headers| {
                let pass = Pass::until(Principal::local(), Some(keys.opened()), None);
                check(headers).map(|()| pass)
            }),
            _ => None,
        };
        Box::pin(async move { admitted })
    }
}

fn check(headers: &HeaderMap) -> Result<()> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_loopback_name(host) {
        return Err(Error::user(
            Code::Forbidden,
            "the Host header names no loopback address; without keys the server answers the local \
             user only",
        ));
    }
    match is_of_own_page(headers) {
        true => Ok(()),
        false => Err(Error::user(
            Code::Forbidden,
            "the request comes from a page of another origin; without keys only the server's own \
             pages may ask",
        )),
    }
}

/// Whether a request is of no page of another origin, as far as browsers say.
pub(super) fn is_of_own_page(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_own_site = headers.get("sec-fetch-site").is_none_or(|site| {
        // Of a page of ours, or typed by the user.
        site == "same-origin" || site == "none"
    });
    let is_own_origin = headers.get(header::ORIGIN).is_none_or(|origin| {
        let origin: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
        let authority = origin.as_ref().and_then(Uri::authority);
        authority.is_some_and(|origin| origin.as_str().eq_ignore_ascii_case(host))
    });
    is_own_site && is_own_origin
}

/// Whether a `Host` header names this machine, on whatever port: it may be forwarded.
fn is_loopback_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
