//! Colours that the colour-blind tell apart: those of Okabe and Ito (2008), the yellow one left out, which is pale on white.

use plotters::style::RGBColor;

/// Colours of series, in order.
pub const SERIES: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x5B, 0x4E, 0x8C),
];
/// What is put together of all others.
pub const OTHER: RGBColor = RGBColor(0x9A, 0xA3, 0xAD);
/// Text.
pub const INK: RGBColor = RGBColor(0x1C, 0x24, 0x30);
/// Text that says less.
pub const QUIET: RGBColor = RGBColor(0x4A, 0x55, 0x65);
/// Lines behind the data.
pub const GRID: RGBColor = RGBColor(0xE3, 0xE7, 0xEC);
/// The line that data stand on.
pub const BASE: RGBColor = RGBColor(0x8A, 0x94, 0xA3);

const HEAT: [(u8, u8, u8); 5] = [
    (0xF2, 0xF6, 0xFA),
    (0xBF, 0xD7, 0xEA),
    (0x73, 0xAD, 0xD6),
    (0x22, 0x6F, 0xAE),
    (0x0B, 0x2F, 0x5B),
];

/// From pale to dark, for `share` from 0 to 1.
pub fn heat(share: f64) -> RGBColor {
    let at = share.clamp(0.0, 1.0) * 4.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 3")]
    let low = (at.floor() as usize).min(3);
    #[expect(clippy::cast_precision_loss, reason = "0 to 3")]
    let part = at - low as f64;
    let (a, b) = (HEAT[low], HEAT[low + 1]);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between two bytes"
    )]
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}
