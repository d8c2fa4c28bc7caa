//! Renders a template with answers that lie in a folder, to look at it: `render queries TEMPLATE [name=value…]` writes the SQL of each query
//! with values in it as JSON, `render pages TEMPLATE ANSWERS OUT [name=value…]` reads ANSWERS/NAME.arrow (streams) and writes OUT.html and, with the
//! feature `pdf`, OUT-a4.pdf and OUT-letter.pdf.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for looking")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{File, read_to_string, write};
use std::path::Path;

use arrow::ipc::reader::StreamReader;
use reports::{Answer, Fonts, Origin, Report, Rows, Template, Values};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |from: usize| -> BTreeMap<String, String> {
        let pairs = arguments.iter().skip(from).filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let now = "2026-02-01T06:00:00Z".parse()?;
    match arguments.first().map(String::as_str) {
        Some("queries") => {
            let template = template(&arguments[1])?;
            let values = template.values(&given(2), &BTreeMap::new(), now)?;
            let queries = template
                .queries_of_parameters(&BTreeMap::new())
                .into_iter()
                .chain(template.queries_of_sections());
            let queries: BTreeMap<&str, String> =
                queries.map(|(name, query)| (name, bound(&query.sql, &values))).collect();
            println!("{}", serde_json::to_string(&queries)?);
        }
        Some("pages") => {
            let template = template(&arguments[1])?;
            let answers: BTreeMap<String, Answer> = template
                .queries
                .keys()
                .map(|name| (name.clone(), answer(&arguments[2], name)))
                .collect();
            let values = template.values(&given(4), &BTreeMap::new(), now)?;
            let origin = Origin {
                made_at: now,
                made_by: format!("Colonnade {}", env!("CARGO_PKG_VERSION")),
                asked_by: None,
                sources: [("model_calls", 2), ("tickets", 1), ("anomalies", 1)]
                    .map(|(n, v)| (n.to_owned(), v))
                    .to_vec(),
                notes: Vec::new(),
            };
            let report = Report::make(&template, &values, &answers, &origin)?;
            let fonts = Fonts::builtin()?;
            let started = std::time::Instant::now();
            write(format!("{}.html", arguments[3]), reports::html(&report, &fonts)?)?;
            println!("html {:?}", started.elapsed());
            #[cfg(feature = "pdf")]
            for (name, paper) in [("a4", reports::Paper::A4), ("letter", reports::Paper::Letter)] {
                let started = std::time::Instant::now();
                write(
                    format!("{}-{name}.pdf", arguments[3]),
                    reports::pdf(&report, paper, &fonts)?,
                )?;
                println!("{name} {:?}", started.elapsed());
            }
        }
        _ => return Err("expected `queries` or `pages`".into()),
    }
    Ok(())
}

fn template(name: &str) -> Result<Template, Box<dyn Error>> {
    if Path::new(name).exists() {
        return Ok(Template::parse(name, &read_to_string(name)?)?);
    }
    Ok(reports::ready(name)?)
}

fn answer(folder: &str, name: &str) -> Answer {
    let Ok(file) = File::open(format!("{folder}/{name}.arrow")) else {
        return Answer::Missing(format!("there is no answer {name}"));
    };
    let reader = StreamReader::try_new(file, None).unwrap();
    let schema = reader.schema();
    Answer::Rows(Rows::new(schema, reader.map(Result::unwrap).collect()))
}

fn bound(sql: &str, values: &Values) -> String {
    let by_length = values.iter().rev();
    by_length.fold(sql.to_owned(), |sql, (name, value)| {
        sql.replace(&format!("${name}"), &value.literal())
    })
}
