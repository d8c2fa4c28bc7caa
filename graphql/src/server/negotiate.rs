//! What form of answer a client asks for with `Accept`.

/// A form of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/graphql-response+json`: the status tells of refused requests, too.
    GraphqlResponse,
    /// `application/json`: 200 for every well-formed request that is answered, also with errors.
    Json,
    /// `text/event-stream`.
    EventStream,
}

impl Media {
    /// As a `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::EventStream => "text/event-stream",
        }
    }
}

/// The form that `accept` likes best of ours, the first of equals; `None` when it takes none. Who says nothing gets what every client
/// understands, `application/json`.
pub(super) fn negotiate(accept: Option<&str>) -> Option<Media> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Some(Media::Json);
    };
    let mut best: Option<(f32, Media)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';');
        let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let quality = parts
            .filter_map(|parameter| parameter.trim().strip_prefix("q="))
            .find_map(|q| q.trim().parse::<f32>().ok())
            .unwrap_or(1.0);
        let media = match name.as_str() {
            "application/graphql-response+json" => Media::GraphqlResponse,
            "application/json" | "application/*" | "*/*" => Media::Json,
            "text/event-stream" | "text/*" => Media::EventStream,
            _ => continue,
        };
        if quality > 0.0 && best.is_none_or(|(known, _)| quality > known) {
            best = Some((quality, media));
        }
    }
    best.map(|(_, media)| media)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_form_is_chosen() {
        let is = |accept: &str, media| assert_eq!(negotiate(Some(accept)), media, "{accept}");
        is("application/json", Some(Media::Json));
        is(
            "application/graphql-response+json, application/json;q=0.9",
            Some(Media::GraphqlResponse),
        );
        is("application/json;q=0.5, text/event-stream", Some(Media::EventStream));
        is("*/*", Some(Media::Json));
        is("text/html, application/json;q=0", None);
        is("image/png", None);
        assert_eq!(negotiate(None), Some(Media::Json));
    }
}
