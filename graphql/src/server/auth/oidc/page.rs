//! What a browser is shown where a login does not come to its end.

use poem::Response;
use poem::http::{HeaderValue, StatusCode, header};

use crate::server::wire;

/// No scripts, nothing from anywhere, in no frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Longest part of what others say that is shown.
const SHOWN_MAX: usize = 500;

/// A page that says what happened, and leads on.
pub(super) fn page(status: StatusCode, title: &str, says: &str) -> Response {
    let (title, says) = (escaped(title), escaped(says));
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title} – Colonnade</title>\n\
         <style>body {{ font-family: sans-serif; max-width: 40em; margin: 4em auto; padding: 0 1em; }}</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n<p>{says}</p>\n<p><a href=\"/auth/login\">Log in again</a></p>\n</body>\n</html>\n"
    );
    let mut response = wire::body(status, "text/html; charset=utf-8", text);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A part of what others say, in one line.
pub(super) fn shown(text: &str) -> String {
    let letters = text.chars().filter(|letter| !letter.is_control());
    letters.take(SHOWN_MAX).collect()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
