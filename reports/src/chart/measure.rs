//! How wide texts are, before anything is set: by the widths of the font's own letters.

/// Advances of Noto Sans Regular from space to tilde, in thousandths of its size.
const ADVANCES: [u16; 95] = [
    260, 269, 408, 646, 572, 831, 732, 225, 300, 300, 551, 572, 268, 322, 268, 372, 572, 572, 572,
    572, 572, 572, 572, 572, 572, 572, 268, 268, 572, 572, 572, 434, 899, 639, 650, 632, 730, 556,
    519, 728, 741, 339, 273, 619, 524, 907, 760, 781, 605, 781, 622, 549, 556, 731, 600, 930, 586,
    566, 572, 329, 372, 329, 572, 444, 281, 561, 615, 480, 615, 564, 344, 615, 618, 258, 258, 534,
    258, 935, 618, 605, 615, 615, 413, 479, 361, 618, 508, 786, 529, 510, 470, 380, 551, 380, 572,
];

/// The width of a text, in the unit of `size`. A little too much for letters beyond Latin.
pub fn width(text: &str, size: f64) -> f64 {
    let thousandths: u32 = text.chars().map(advance).sum();
    f64::from(thousandths) / 1_000.0 * size
}

fn advance(letter: char) -> u32 {
    let at = (letter as u32).checked_sub(0x20).and_then(|at| usize::try_from(at).ok());
    match at.and_then(|at| ADVANCES.get(at)) {
        Some(advance) => u32::from(*advance),
        None if letter == '\u{a0}' => 260,
        None if letter as u32 >= 0x2E80 => 1_000,
        None => 640,
    }
}

/// The text, or what of it fits, with an ellipsis.
pub fn fit(text: &str, size: f64, most: f64) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut wide = width("…", size);
    for letter in text.chars() {
        wide += f64::from(advance(letter)) / 1_000.0 * size;
        if wide > most {
            break;
        }
        out.push(letter);
    }
    format!("{}…", out.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_wide_is_cut() {
        assert!((width("00", 10.0) - 11.44).abs() < 1e-9);
        assert_eq!(fit("aurora-large", 10.0, 100.0), "aurora-large");
        let cut = fit("aurora-large", 10.0, 40.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0) <= 41.0, "{cut}");
    }
}
