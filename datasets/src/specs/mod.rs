//! The specs that come with Colonnade: TOML files such as users write, with nothing that theirs can't have.

use std::sync::LazyLock;

use crate::spec::DatasetSpec;

/// The shipped files: those of which rows are generated first.
const FILES: [(&str, &str); 8] = [
    ("model_calls.toml", include_str!("model_calls.toml")),
    ("tickets.toml", include_str!("tickets.toml")),
    ("workflow_steps.toml", include_str!("workflow_steps.toml")),
    ("metrics.toml", include_str!("metrics.toml")),
    ("events.toml", include_str!("events.toml")),
    ("llm_prices.toml", include_str!("llm_prices.toml")),
    ("people.toml", include_str!("people.toml")),
    ("record_pairs.toml", include_str!("record_pairs.toml")),
];

static SPECS: LazyLock<Vec<DatasetSpec>> = LazyLock::new(|| {
    // A test reads every file, so none is left out here.
    FILES.iter().filter_map(|(name, text)| DatasetSpec::from_toml(text, name).ok()).collect()
});

/// The built-in datasets, which need no spec of a user's.
pub fn builtin() -> Vec<DatasetSpec> {
    SPECS.clone()
}

/// A built-in spec by its dataset's name.
pub fn by_name(name: &str) -> Option<DatasetSpec> {
    SPECS.iter().find(|spec| spec.name.as_str() == name).cloned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::column_type::ColumnType;
    use crate::{KeyPolicy, LoadSettings};

    #[test]
    fn every_shipped_spec_is_sound_and_survives_json() {
        for (file, text) in FILES {
            let spec = DatasetSpec::from_toml(text, file).unwrap();
            assert_eq!(format!("{}.toml", spec.name), file);
            assert_eq!(DatasetSpec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
            assert_eq!(by_name(spec.name.as_str()).unwrap(), spec);
        }
        assert_eq!(builtin().len(), FILES.len());
    }

    /// `docs/specs.md`, from its heading `heading` on.
    fn page(heading: &str) -> String {
        let text = std::fs::read_to_string("../docs/specs.md").unwrap();
        let from = text.find(&format!("\n## {heading}")).unwrap();
        let section = &text[from + 4..];
        section[..section.find("\n## ").unwrap_or(section.len())].to_owned()
    }

    /// What stands in backticks in the first cell of each row of a table.
    fn first_cells(section: &str) -> Vec<String> {
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = rows.map(|row| row.split(" |").next().unwrap());
        cells
            .flat_map(|cell| cell.split("`, `"))
            .map(|word| word.trim_end_matches('`').to_owned())
            .collect()
    }

    #[test]
    fn the_page_on_specs_has_every_type_check_and_built_in_dataset() {
        let text = std::fs::read_to_string("../docs/specs.md").unwrap();
        let example = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let spec = DatasetSpec::from_toml(example, "docs/specs.md").unwrap();
        assert_eq!((spec.columns.len(), spec.validations.len()), (8, 4));

        let types = first_cells(&page("Types"));
        for name in &types {
            name.parse::<ColumnType>().unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let error = "?".parse::<ColumnType>().unwrap_err().to_string();
        let known = error.split("expected ").nth(1).unwrap().replace(" or ", ", ");
        let head = |name: &str| name.split('(').next().unwrap().trim().to_owned();
        let known = known.split(", ").filter(|name| !name.contains("found"));
        let mut known: Vec<String> = known.map(head).collect();
        let mut listed: Vec<String> = types.iter().map(|name| head(name)).collect();
        known.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, known);

        let mut checks = first_cells(&page("Checks"));
        let error = toml::from_str::<crate::Validation>("check = \"?\"").unwrap_err().to_string();
        let known = error.split("expected one of ").nth(1).unwrap();
        let mut known: Vec<String> =
            known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        checks.sort_unstable();
        known.sort_unstable();
        assert_eq!(checks, known);

        let section = page("How rows are loaded");
        let example = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let load = toml::from_str::<toml::Table>(example).unwrap().remove("load").unwrap();
        load.try_into::<LoadSettings>().unwrap().check().unwrap();
        let settings = first_cells(section.split("\n### ").next().unwrap());
        let names = settings.iter().map(|cell| cell.split('`').next().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), LoadSettings::NAMES);
        let policies = first_cells(section.split("### Existing keys").nth(1).unwrap());
        assert_eq!(policies, KeyPolicy::NAMED.map(|(name, _)| name));

        let section = page("Built-in datasets");
        for spec in builtin() {
            assert!(section.contains(&format!("`{}`", spec.name)), "{}", spec.name);
        }
        assert_eq!(section.matches('`').count() / 2 - 1, builtin().len());
    }
}
