//! The fonts that pages are set in, which every file holds itself: Noto Sans for Latin, Greek and Cyrillic, Droid Sans Fallback for
//! the frequent Chinese letters and Japanese kana, Noto Sans CJK for frequent Hangul, and what a caller adds for other scripts. Of all
//! but the first a page of HTML gets the letters that it has; of all of them a PDF does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use allsorts::binary::read::ReadScope;
use allsorts::font_data::{DynamicFontTableProvider, FontData};
use allsorts::subset::{CmapTarget, SubsetProfile};
use allsorts::tables::FontTableProvider;
use allsorts::tables::cmap::Cmap;
use allsorts::tag;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use unicode_script::{Script, UnicodeScript};

use crate::error::{Error, Result};

/// Bytes of a font that is added.
pub const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Fonts that are added.
pub const MOST_ADDED: usize = 8;
const BUILTIN_FACES: usize = 4;

/// Fonts, the first that has a letter is taken.
#[derive(Debug, Clone)]
pub struct Fonts {
    faces: Vec<Arc<Face>>,
}

#[derive(Debug)]
pub(crate) struct Face {
    /// As CSS weighs it.
    weight: u16,
    /// TrueType or OpenType, unpacked.
    pub sfnt: Vec<u8>,
    /// What HTML gets where that is not made of the letters it has.
    packed: Option<&'static [u8]>,
    /// Glyphs of letters.
    glyphs: BTreeMap<char, u16>,
}

static BUILTIN: LazyLock<std::result::Result<Fonts, String>> = LazyLock::new(|| {
    let regular: &[u8] = include_bytes!("../fonts/NotoSans-Regular.woff2");
    let bold: &[u8] = include_bytes!("../fonts/NotoSans-SemiBold.woff2");
    let han = include_bytes!("../fonts/DroidSansFallback-Han.woff2");
    let hangul = include_bytes!("../fonts/NotoSansCJK-Hangul.woff2");
    let faces = [
        Face::read(regular, 400, Some(regular))?,
        Face::read(bold, 600, Some(bold))?,
        Face::read(han, 400, None)?,
        Face::read(hangul, 400, None)?,
    ];
    Ok(Fonts { faces: faces.map(Arc::new).to_vec() })
});

impl Fonts {
    /// Those that come with this crate.
    pub fn builtin() -> Result<Self> {
        let problem =
            |problem: &String| Error::Font { name: "builtin".to_owned(), problem: problem.clone() };
        BUILTIN.as_ref().map(Clone::clone).map_err(problem)
    }

    /// These, and one more for scripts that they have not: TrueType, OpenType, WOFF or WOFF2. `name` is for errors. Its licence has to allow
    /// that it is embedded, which is not looked at.
    pub fn and(mut self, name: &str, bytes: &[u8]) -> Result<Self> {
        let problem = |problem: String| Error::Font { name: name.to_owned(), problem };
        if bytes.len() > MOST_BYTES {
            return Err(problem(format!("{} bytes: at most {MOST_BYTES}", bytes.len())));
        }
        if self.faces.len() >= BUILTIN_FACES + MOST_ADDED {
            return Err(problem(format!("over {MOST_ADDED} fonts are added")));
        }
        self.faces.push(Arc::new(Face::read(bytes, 400, None).map_err(problem)?));
        Ok(self)
    }

    #[cfg(feature = "pdf")]
    pub(crate) fn faces(&self) -> &[Arc<Face>] {
        &self.faces
    }

    /// Whether some font has the letter.
    pub(crate) fn has(&self, letter: char) -> bool {
        self.faces.iter().any(|face| face.glyphs.contains_key(&letter))
    }

    /// The scripts of letters that no font has, by name.
    pub(crate) fn lacking(&self, letters: &BTreeSet<char>) -> BTreeSet<&'static str> {
        let lacking = letters.iter().filter(|letter| !self.has(**letter) && !is_unseen(**letter));
        lacking.map(|letter| script(*letter)).collect()
    }

    /// `@font-face` rules with the fonts in them, and the families in order.
    pub(crate) fn css(&self, letters: &BTreeSet<char>) -> Result<(String, String)> {
        let (mut rules, mut families) = (String::new(), String::from("\"Report\""));
        let mut open: BTreeSet<char> = letters.clone();
        for (index, face) in self.faces.iter().enumerate() {
            let (family, kind, bytes) = match face.packed {
                Some(packed) => ("Report".to_owned(), "woff2", packed.to_vec()),
                None => {
                    let wanted: Vec<char> =
                        open.iter().filter(|l| face.glyphs.contains_key(l)).copied().collect();
                    if wanted.is_empty() {
                        continue;
                    }
                    let bytes = face.subset(&wanted).map_err(|problem| Error::Font {
                        name: format!("number {index}"),
                        problem,
                    })?;
                    let _ = write!(families, ", \"Report {index}\"");
                    (
                        format!("Report {index}"),
                        if face.is_cff() { "opentype" } else { "truetype" },
                        bytes,
                    )
                }
            };
            open.retain(|letter| !face.glyphs.contains_key(letter));
            let _ = writeln!(
                rules,
                "@font-face{{font-family:\"{family}\";font-weight:{};src:url(data:font/{};base64,{}) format(\"{kind}\")}}",
                face.weight,
                if kind == "woff2" { "woff2" } else { "sfnt" },
                BASE64_STANDARD.encode(bytes)
            );
        }
        Ok((rules, families))
    }
}

impl Face {
    fn read(
        bytes: &[u8],
        weight: u16,
        packed: Option<&'static [u8]>,
    ) -> std::result::Result<Self, String> {
        let provider = provider(bytes)?;
        let tags = provider.table_tags().ok_or("it has no tables")?;
        let sfnt = match bytes.get(..4) {
            // What is packed is unpacked, with all its tables.
            Some(b"wOFF" | b"wOF2") => {
                allsorts::subset::whole_font(&provider, &tags).map_err(|e| e.to_string())?
            }
            _ => bytes.to_vec(),
        };
        let cmap = provider.read_table_data(tag::CMAP).map_err(|e| e.to_string())?;
        let cmap = ReadScope::new(&cmap).read::<Cmap<'_>>().map_err(|e| e.to_string())?;
        let mut glyphs = BTreeMap::new();
        let record =
            allsorts::font::find_good_cmap_subtable(&cmap).ok_or("it has no letters of Unicode")?;
        let table = cmap.scope.offset(usize::try_from(record.1.offset).unwrap_or(0));
        let table =
            table.read::<allsorts::tables::cmap::CmapSubtable<'_>>().map_err(|e| e.to_string())?;
        let mut take = |letter: u32, glyph: u16| {
            if let Some(letter) = char::from_u32(letter).filter(|_| glyph != 0) {
                glyphs.insert(letter, glyph);
            }
        };
        table.mappings_fn(&mut take).map_err(|e| e.to_string())?;
        if glyphs.is_empty() {
            return Err("it has no letters of Unicode".to_owned());
        }
        Ok(Self { weight, sfnt, packed, glyphs })
    }

    fn is_cff(&self) -> bool {
        self.sfnt.starts_with(b"OTTO")
    }

    /// A font of these letters alone.
    fn subset(&self, letters: &[char]) -> std::result::Result<Vec<u8>, String> {
        let provider = provider(&self.sfnt)?;
        let wanted: BTreeSet<u16> =
            letters.iter().filter_map(|letter| self.glyphs.get(letter)).copied().collect();
        let glyphs: Vec<u16> = std::iter::once(0).chain(wanted).collect();
        allsorts::subset::subset(&provider, &glyphs, &SubsetProfile::Minimal, CmapTarget::Unicode)
            .map_err(|e| e.to_string())
    }
}

fn provider(bytes: &[u8]) -> std::result::Result<DynamicFontTableProvider<'_>, String> {
    let data = ReadScope::new(bytes).read::<FontData<'_>>();
    let data = data.map_err(|e| format!("{e}: expected TrueType, OpenType, WOFF or WOFF2"))?;
    data.table_provider(0).map_err(|e| e.to_string())
}

/// What is never seen by itself: joiners, selectors of variants, white space.
pub(crate) fn is_unseen(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}')
}

/// The script of a letter, by its name.
pub(crate) fn script(letter: char) -> &'static str {
    match letter.script() {
        Script::Common | Script::Inherited | Script::Unknown => "symbols",
        script => script.full_name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_greek_cyrillic_and_frequent_han_are_there() {
        let fonts = Fonts::builtin().unwrap();
        for letter in "Aé ąŁőșẞ Ωλ Жщњ ₽€− ▲▼ → ≤ … „“ 中文 你好 日本語 かな カナ 한국어".chars()
        {
            assert!(fonts.has(letter), "{letter:?} has no glyph");
        }
        let letters = "aहش😀".chars().collect();
        let lacking: Vec<_> = fonts.lacking(&letters).into_iter().collect();
        assert_eq!(lacking, ["Arabic", "Devanagari", "symbols"]);
    }

    #[test]
    fn html_gets_the_han_letters_that_it_has() {
        let fonts = Fonts::builtin().unwrap();
        let (plain, families) = fonts.css(&"abc".chars().collect()).unwrap();
        assert_eq!(families, "\"Report\"");
        let (with_han, families) = fonts.css(&"abc中文".chars().collect()).unwrap();
        assert_eq!(families, "\"Report\", \"Report 2\"");
        assert!(
            with_han.len() - plain.len() < 8_000,
            "{} bytes of two letters",
            with_han.len() - plain.len()
        );
    }

    #[test]
    fn what_is_no_font_is_refused() {
        let error = Fonts::builtin().unwrap().and("x.ttf", b"not a font").unwrap_err();
        assert!(
            error.to_string().contains("x.ttf") && error.to_string().contains("TrueType"),
            "{error}"
        );
        for cut in [4, 100, 5_000] {
            let font = include_bytes!("../fonts/NotoSans-Regular.woff2");
            assert!(Fonts::builtin().unwrap().and("cut", &font[..cut]).is_err());
        }
    }
}
