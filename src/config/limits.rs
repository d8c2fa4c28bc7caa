//! What requests may ask for: the table `[limits]` of the settings, in the environment `COLONNADE_LIMITS_` and the name in capitals.

use engine::{Result, did_you_mean};
use graphql::{LimitValue, Limits};

use super::{InForce, Origin, Settings, bad, size};

/// The setting that is older than the table, and the limit that it is.
const BODY: (&str, &str) = ("body_limit", "ingest_bytes_max");

impl Settings {
    /// The limits of a server.
    pub fn limits(&self) -> Result<Limits> {
        let ingest_bytes_max = self.addressable_bytes(BODY.0)?;
        let default = Limits::default();
        let mut limits = Limits {
            ingest_bytes_max,
            // There is room for one of the largest, at least.
            ingest_in_flight_bytes_max: default.ingest_in_flight_bytes_max.max(ingest_bytes_max),
            ingest_unpacked_bytes_max: default.ingest_unpacked_bytes_max.max(ingest_bytes_max),
            ..default
        };
        for (name, (text, origin)) in &self.limits {
            let wrong = |problem: String| bad(format!("limits.{name} (from {origin}): {problem}"));
            let Some(setting) = Limits::SETTINGS.iter().find(|it| it.name == name) else {
                let near = did_you_mean(name, Limits::SETTINGS.iter().map(|it| it.name));
                let near = near.unwrap_or_else(|| "`colonnade config` shows all".to_owned());
                return Err(wrong(format!("there is no such limit; {near}")));
            };
            if name == BODY.1 {
                return Err(wrong(format!("expected the setting {}, which is the same", BODY.0)));
            }
            let value = value(text, (setting.get)(&limits))
                .map_err(|expected| wrong(format!("expected {expected}, found {text:?}")))?;
            setting.set(&mut limits, value).map_err(|e| wrong(e.to_string()))?;
        }
        limits.check().map_err(|e| bad(format!("limits: {e}")))?;
        Ok(limits)
    }

    pub(super) fn limits_in_force(&self) -> Vec<InForce> {
        let limits = self.limits().unwrap_or_default();
        let line = |setting: &graphql::LimitSetting| {
            let origin = self.limits.get(setting.name).map(|(_, origin)| origin);
            let origin = match (setting.name == BODY.1, self.values.get(BODY.0)) {
                (true, Some((_, origin))) => origin,
                _ => origin.unwrap_or(&Origin::Default),
            };
            InForce {
                name: format!("limits.{}", setting.name),
                value: shown((setting.get)(&limits)),
                origin: origin.to_string(),
                about: setting.about.trim().to_owned(),
            }
        };
        Limits::SETTINGS.iter().map(line).collect()
    }
}

/// A text as a value of the kind of `like`, or what was expected.
fn value(text: &str, like: LimitValue) -> Result<LimitValue, &'static str> {
    let (value, expected) = match like {
        LimitValue::Count(_) => {
            let count = text.parse().ok().filter(|count| *count > 0);
            (count.map(LimitValue::Count), "a whole number from 1 to 18446744073709551615")
        }
        LimitValue::Bytes(_) => {
            (size::parse(text).map(LimitValue::Bytes), "bytes, or a size such as 64MiB")
        }
        LimitValue::Time(_) => {
            let time = crate::cli::time(text).ok().and_then(|time| time.to_std().ok());
            (time.map(LimitValue::Time), "a time such as 90s or 15m")
        }
        LimitValue::Switch(_) => (text.parse().ok().map(LimitValue::Switch), "true or false"),
    };
    value.ok_or(expected)
}

fn shown(value: LimitValue) -> String {
    match value {
        LimitValue::Count(count) => count.to_string(),
        LimitValue::Bytes(bytes) => size(bytes),
        LimitValue::Time(time) => format!("{}s", time.as_secs_f64()),
        LimitValue::Switch(switch) => switch.to_string(),
    }
}
