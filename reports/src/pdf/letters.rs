//! Letters that no font has: pages of PDF have no fonts but their own, so that a name stands in their place, as `[5 Arabic letters]`.

use crate::fonts::{Fonts, is_unseen, script};
use crate::report::Report;

/// Puts names in the place of letters that no font has, and says in the notes which scripts that were.
pub(super) fn replace(report: &mut Report, fonts: &Fonts) {
    let letters = report.letters();
    if letters.iter().all(|letter| fonts.has(*letter)) {
        return;
    }
    let lacking: Vec<&str> = fonts.lacking(&letters).into_iter().collect();
    report.texts_mut(&mut |text| *text = named(text, fonts));
    if !lacking.is_empty() {
        report.notes.push(format!(
            "The fonts of this file have no letters for these scripts, in whose place it says how many there were: {}.",
            lacking.join(", ")
        ));
    }
}

fn named(text: &str, fonts: &Fonts) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run: Option<(&'static str, usize)> = None;
    let end = |out: &mut String, run: Option<(&str, usize)>| match run {
        None => {}
        Some(("symbols", 1)) => out.push_str("[1 symbol]"),
        Some(("symbols", count)) => out.push_str(&format!("[{count} symbols]")),
        Some((script, 1)) => out.push_str(&format!("[1 {script} letter]")),
        Some((script, count)) => out.push_str(&format!("[{count} {script} letters]")),
    };
    for letter in text.chars() {
        // The drawings' lines are what their reader counts by.
        if letter == '\n' || fonts.has(letter) {
            end(&mut out, run.take());
            out.push(letter);
        } else if letter.is_whitespace() {
            end(&mut out, run.take());
            out.push(' ');
        } else if !is_unseen(letter) {
            run = match (run, script(letter)) {
                (Some((before, count)), script) if before == script => Some((script, count + 1)),
                (run, script) => {
                    end(&mut out, run);
                    Some((script, 1))
                }
            };
        }
    }
    end(&mut out, run);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_font_has_is_named_and_counted() {
        let fonts = Fonts::builtin().unwrap();
        assert_eq!(named("a سلام b", &fonts), "a [4 Arabic letters] b");
        assert_eq!(named("😀!", &fonts), "[1 symbol]!");
        assert_eq!(named("شكرا🙂中文 Ж", &fonts), "[4 Arabic letters][1 symbol]中文 Ж");
        assert_eq!(named("a\u{fe0f}b", &fonts), "ab");
    }
}
