//! `reportTemplates`, and the mutation that makes a report: pages that are downloaded as the files of an export are.

use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputValue, Object, TypeRef,
};
use engine::Role;

use super::super::resolve::{nullable, part, state};
use super::super::scalars;
use super::exports::{EXPORT, exported_by, keep_days_argument, wait_argument};

const TEMPLATE: &str = "ReportTemplate";
const PAGE: &str = "ReportPage";
const PAPER: &str = "ReportPaper";

/// A report that is ready.
struct Template {
    name: &'static str,
    description: String,
}

/// `ReportPage`, `ReportPaper`.
pub(crate) fn enums() -> [Enum; 2] {
    let page = Enum::new(PAGE)
        .description("A page of a report that is made.")
        .item(
            EnumItem::new("HTML")
                .description("A file that browsers show, with all that it needs in it."),
        )
        .item(EnumItem::new("PDF").description("To print."));
    let paper = Enum::new(PAPER)
        .description("The paper of PDF.")
        .item(EnumItem::new("A4"))
        .item(EnumItem::new("LETTER"));
    [page, paper]
}

/// `ReportTemplate`.
pub(crate) fn types() -> [Object; 1] {
    let template = Object::new(TEMPLATE)
        .description("A report that is ready to be made.")
        .field(part("name", TypeRef::named_nn(TypeRef::STRING), |template: &Template| {
            Ok(template.name.into())
        }))
        .field(part("description", TypeRef::named_nn(TypeRef::STRING), |template: &Template| {
            Ok(template.description.as_str().into())
        }));
    [template]
}

/// The query field `reportTemplates`.
pub(crate) fn templates_field() -> Field {
    Field::new("reportTemplates", TypeRef::named_nn_list_nn(TEMPLATE), |_| {
        FieldFuture::new(async move {
            let ready = jobs::report::ready_reports().into_iter();
            let ready = ready
                .map(|(name, description)| FieldValue::owned_any(Template { name, description }));
            Ok(Some(FieldValue::list(ready)))
        })
    })
    .description("Reports that are ready to be made.")
}

/// The mutation `createReport`.
pub(crate) fn mutations() -> [Field; 1] {
    let create = Field::new("createReport", TypeRef::named(EXPORT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let who = state(inner)?.who_in_part(Role::Reader)?;
            let params = [
                ("name", "name"),
                ("template", "template"),
                ("parameters", "parameters"),
                ("pages", "pages"),
                ("paper", "paper"),
                ("keepDays", "keep_days"),
            ];
            let job = jobs::report::JOB;
            let made = exported_by(&context, who, "createReport", job, &params, Vec::new());
            made.await.map(Some)
        })
    })
    .description(
        "Makes a report of a template's queries, as pages that are downloaded: a run of the job `report`, kept as an export is. Who sees a \
         part of the tenant gets a report of that part. Needs the role reader.",
    )
    .argument(
        InputValue::new("name", TypeRef::named(TypeRef::STRING))
            .description("One of `reportTemplates`; this or `template` must be said."),
    )
    .argument(InputValue::new("template", TypeRef::named(TypeRef::STRING)).description("A template, in TOML."))
    .argument(
        InputValue::new("parameters", TypeRef::named(scalars::JSON))
            .description("Values of the template's parameters, as texts: {\"from\": \"2026-01-01\"}."),
    )
    .argument(
        InputValue::new("pages", TypeRef::named_nn_list(PAGE))
            .description("What is made of it. [HTML] when absent."),
    )
    .argument(
        InputValue::new("paper", TypeRef::named(PAPER))
            .description("The paper of PDF; that of the template when absent."),
    )
    .argument(keep_days_argument())
    .argument(wait_argument());
    [create]
}
