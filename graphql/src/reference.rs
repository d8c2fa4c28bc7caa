//! The schema as a page to read: what can be asked, done and followed, with every argument, type and unit.
//!
//! It is made from the definition language that clients get, so it says what the server says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use async_graphql::Positioned;
use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    FieldDefinition, InputValueDefinition, TypeDefinition, TypeKind, TypeSystemDefinition,
};
use engine::{Error, Result};

/// The roots, with what their fields are.
const ROOTS: [(&str, &str); 3] =
    [("Query", "Queries"), ("Mutation", "Mutations"), ("Subscription", "Subscriptions")];
/// Kinds of types, in their order.
const SECTIONS: [&str; 5] = ["Objects", "Interfaces", "Inputs", "Enums", "Scalars"];

/// A schema's definition language as a page in Markdown, below this title and what is said first.
pub(crate) fn page(sdl: &str, title: &str, about: &str) -> Result<String> {
    let read = parse_schema(sdl);
    let document = read.map_err(|error| Error::internal(format!("reading a schema: {error}")))?;
    let mut types: BTreeMap<String, TypeDefinition> = BTreeMap::new();
    for definition in document.definitions {
        if let TypeSystemDefinition::Type(Positioned { node, .. }) = definition {
            types.insert(node.name.node.to_string(), node);
        }
    }
    let mut page = Page { text: format!("# {title}\n\n{about}\n"), types: &types };
    for (root, heading) in ROOTS {
        if let Some(TypeDefinition { kind: TypeKind::Object(object), .. }) = types.get(root) {
            page.line(&format!("\n## {heading}"));
            page.fields(&object.fields);
        }
    }
    for section in SECTIONS {
        let is_of = |definition: &&TypeDefinition| {
            section_of(&definition.kind) == section
                && ROOTS.iter().all(|(root, _)| definition.name.node != *root)
        };
        let mut of_section = types.values().filter(is_of).peekable();
        if of_section.peek().is_some() {
            page.line(&format!("\n## {section}"));
        }
        for definition in of_section {
            page.definition(definition);
        }
    }
    page.text.truncate(page.text.trim_end().len());
    page.text.push('\n');
    Ok(page.text)
}

fn section_of(kind: &TypeKind) -> &'static str {
    match kind {
        TypeKind::Object(_) | TypeKind::Union(_) => "Objects",
        TypeKind::Interface(_) => "Interfaces",
        TypeKind::InputObject(_) => "Inputs",
        TypeKind::Enum(_) => "Enums",
        TypeKind::Scalar => "Scalars",
    }
}

struct Page<'a> {
    text: String,
    types: &'a BTreeMap<String, TypeDefinition>,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        // Writing to a String can not fail.
        let _ = writeln!(self.text, "{text}");
    }

    fn definition(&mut self, definition: &TypeDefinition) {
        self.line(&format!("\n### {}\n", definition.name.node));
        if let Some(about) = &definition.description {
            self.line(&format!("{}\n", in_one_line(&about.node)));
        }
        match &definition.kind {
            TypeKind::Object(object) => self.fields(&object.fields),
            TypeKind::Interface(interface) => self.fields(&interface.fields),
            TypeKind::InputObject(input) => {
                self.line("| field | type | |\n|---|---|---|");
                for Positioned { node, .. } in &input.fields {
                    self.input(node);
                }
            }
            TypeKind::Enum(values) => {
                for Positioned { node, .. } in &values.values {
                    let about = node.description.as_ref().map(|about| in_one_line(&about.node));
                    let about = about.map(|about| format!(": {about}")).unwrap_or_default();
                    self.line(&format!("- `{}`{about}", node.value.node));
                }
            }
            TypeKind::Union(union) => {
                let members = union.members.iter().map(|member| format!("`{}`", member.node));
                self.line(&members.collect::<Vec<_>>().join(" or "));
            }
            TypeKind::Scalar => {}
        }
    }

    fn fields(&mut self, fields: &[Positioned<FieldDefinition>]) {
        let (plain, with_arguments): (Vec<_>, Vec<_>) =
            fields.iter().map(|field| &field.node).partition(|field| field.arguments.is_empty());
        if !plain.is_empty() {
            self.line("| field | type | |\n|---|---|---|");
        }
        for field in plain {
            let kind = self.linked(&field.ty.node.to_string());
            let about = about_of(field.description.as_ref());
            self.line(&format!("| `{}` | {kind} | {about} |", field.name.node));
        }
        for field in with_arguments {
            let kind = self.linked(&field.ty.node.to_string());
            let about = field.description.as_ref().map(|about| in_one_line(&about.node));
            self.line(&format!("\n**`{}`**: {kind}\n", field.name.node));
            if let Some(about) = about {
                self.line(&format!("{about}\n"));
            }
            self.line("| argument | type | |\n|---|---|---|");
            for Positioned { node, .. } in &field.arguments {
                self.input(node);
            }
        }
    }

    fn input(&mut self, input: &InputValueDefinition) {
        let kind = self.linked(&input.ty.node.to_string());
        let default = input.default_value.as_ref();
        let default =
            default.map(|value| format!(" Default: `{}`.", value.node)).unwrap_or_default();
        let about = about_of(input.description.as_ref());
        self.line(&format!("| `{}` | {kind} | {about}{default} |", input.name.node));
    }

    /// A type, with a link to where it stands.
    fn linked(&self, kind: &str) -> String {
        let name = kind.trim_matches(|c| matches!(c, '[' | ']' | '!'));
        let is_here = self.types.contains_key(name) && ROOTS.iter().all(|(root, _)| *root != name);
        match is_here {
            true => format!("[`{kind}`](#{})", name.to_lowercase()),
            false => format!("`{kind}`"),
        }
    }
}

fn about_of(description: Option<&Positioned<String>>) -> String {
    // A cell ends at a bar.
    description.map(|about| in_one_line(&about.node).replace('|', "\\|")).unwrap_or_default()
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SDL: &str = r#"
        type Query {
            "All things."
            things("How many." first: Int = 7, where: Where): [Thing!]!
            size: BigInt!
        }
        """
        A thing | a part
        of one.
        """
        type Thing { name: String!, kind: Kind }
        input Where { name: String }
        enum Kind { "The first." A, B }
        scalar BigInt
    "#;

    #[test]
    fn each_field_argument_and_type_is_told() {
        let page = page(SDL, "Schema", "All of it.").unwrap();
        for part in [
            "# Schema\n\nAll of it.\n\n## Queries\n",
            "| `size` | [`BigInt!`](#bigint) |  |",
            "**`things`**: [`[Thing!]!`](#thing)\n\nAll things.\n",
            "| `first` | `Int` | How many. Default: `7`. |",
            "| `where` | [`Where`](#where) |  |",
            "## Objects\n\n### Thing\n",
            "## Inputs\n\n### Where\n",
            "- `A`: The first.\n- `B`\n",
            "## Scalars\n\n### BigInt\n",
        ] {
            assert!(page.contains(part), "{part:?} is missing in\n{page}");
        }
        assert!(!page.contains("### Query"));
    }
}
