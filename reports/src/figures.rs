//! Headline numbers and what they were before.

use crate::format::{Format, Kind};
use crate::make::Maker;
use crate::report::{Body, Change, Figure, Meaning};
use crate::template::{Better, FigureSpec, FiguresSection, Format as _};

pub(crate) fn figures(maker: &Maker<'_>, section: &FiguresSection) -> Result<Body, String> {
    let against = section.against.as_ref().map(|text| maker.fill(text)).transpose()?;
    let against = against.as_deref().unwrap_or("before");
    let figures = section.figures.iter().map(|figure| self::figure(maker, figure, against));
    Ok(Body::Figures { figures: figures.collect::<Result<_, _>>()? })
}

fn figure(maker: &Maker<'_>, spec: &FigureSpec, against: &str) -> Result<Figure, String> {
    let format = spec.written();
    let value = maker.cell(&spec.value.query, &spec.value.column)?;
    let mut change = None;
    if let Some(previous) = &spec.previous {
        let previous = maker.cell(&previous.query, &previous.column)?;
        if let (Some(now), Some(before)) = (value.as_number(), previous.as_number()) {
            let said = format.apply(&previous);
            change = Some(self::change(&format, spec.better, now, before, &said, against));
        }
    }
    Ok(Figure { label: maker.fill(&spec.label)?, value: format.apply(&value), change })
}

fn change(
    format: &Format,
    better: Better,
    now: f64,
    before: f64,
    said: &str,
    against: &str,
) -> Change {
    let by = now - before;
    // What is less than a thousandth is not told.
    let is_same = by.abs() <= before.abs() * 5e-4;
    if is_same {
        return Change { text: format!("unchanged ({against}: {said})"), meaning: Meaning::Plain };
    }
    let arrow = if by > 0.0 { '▲' } else { '▼' };
    let much = if format.kind == Kind::Percent {
        let points =
            Format { kind: Kind::Number, decimals: Some(2), unit: Some("points".to_owned()) };
        points.number(by.abs() * 100.0)
    } else if before == 0.0 {
        format.number(by.abs())
    } else {
        Format { kind: Kind::Percent, decimals: Some(1), unit: None }.number((by / before).abs())
    };
    let meaning = match better {
        Better::Neither => Meaning::Plain,
        Better::Higher if by > 0.0 => Meaning::Good,
        Better::Lower if by < 0.0 => Meaning::Good,
        _ => Meaning::Bad,
    };
    Change { text: format!("{arrow}\u{a0}{much} ({against}: {said})"), meaning }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_how_much_and_which_way_is_good() {
        let money = Format::parse("money(2, usd)").unwrap();
        let up = change(&money, Better::Lower, 110.0, 100.0, "$100.00", "the week before");
        assert_eq!(up.text, "▲\u{a0}10.0\u{a0}% (the week before: $100.00)");
        assert_eq!(up.meaning, Meaning::Bad);
        let share = Format::parse("percent").unwrap();
        let down = change(&share, Better::Lower, 0.01, 0.02, "2 %", "before");
        assert_eq!(
            (down.text.as_str(), down.meaning),
            ("▼\u{a0}1.00\u{a0}points (before: 2 %)", Meaning::Good)
        );
        let same = change(&money, Better::Lower, 100.0, 100.0, "$100.00", "before");
        assert_eq!(
            (same.text.as_str(), same.meaning),
            ("unchanged (before: $100.00)", Meaning::Plain)
        );
        let first = change(&money, Better::Neither, 5.0, 0.0, "$0.00", "before");
        assert_eq!(first.text, "▲\u{a0}$5.00 (before: $0.00)");
    }
}
