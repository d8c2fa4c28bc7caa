//! The text of a summary: `{host} is at {value} %`.

/// A part of it.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// Cuts a template; fails with the brace that has no partner.
fn parts(template: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        parts.push(Part::Text(before));
        rest = match brace.split_at(1) {
            ("{", after) if after.starts_with('{') => {
                parts.push(Part::Text("{"));
                &after[1..]
            }
            ("}", after) if after.starts_with('}') => {
                parts.push(Part::Text("}"));
                &after[1..]
            }
            ("{", after) => match after.split_once('}') {
                Some((name, after)) => {
                    parts.push(Part::Name(name));
                    after
                }
                None => return Err(format!("expected `}}` after {:?}", super::cut(brace))),
            },
            (_, _) => {
                return Err(format!("expected `}}}}` for a brace, found {:?}", super::cut(brace)));
            }
        };
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

/// The names in a template; fails with the brace that is wrong.
pub(super) fn names(template: &str) -> Result<Vec<&str>, String> {
    let names = parts(template)?.into_iter().filter_map(|part| match part {
        Part::Name(name) => Some(name),
        Part::Text(_) => None,
    });
    Ok(names.collect())
}

/// The template with each name as `of` says. One that is wrong stands as it is.
pub(super) fn render(template: &str, of: impl Fn(&str) -> String) -> String {
    let Ok(parts) = parts(template) else { return template.to_owned() };
    let texts = parts.into_iter().map(|part| match part {
        Part::Text(text) => text.to_owned(),
        Part::Name(name) => of(name),
    });
    texts.collect()
}

/// A number for people: short, and never hundreds of digits.
pub(super) fn number(value: Option<f64>) -> String {
    match value {
        None => "no value".to_owned(),
        Some(value) if value != 0.0 && !(1e-4..1e15).contains(&value.abs()) => format!("{value:e}"),
        Some(value) => value.to_string(),
    }
}
