//! What the style sheet promises about contrast, by WCAG 2's formula.

use std::collections::BTreeMap;

use super::STYLE;

/// Colours by name, of light and of dark.
fn palettes() -> [BTreeMap<String, [f64; 3]>; 2] {
    let (light, dark) = STYLE.split_once("prefers-color-scheme: dark").unwrap();
    let light = colours(light);
    let mut both = light.clone();
    both.extend(colours(dark.split_once("* {").unwrap().0));
    [light, both]
}

fn colours(text: &str) -> BTreeMap<String, [f64; 3]> {
    let mut colours = BTreeMap::new();
    for declaration in text.split(';') {
        let Some((name, value)) = declaration.split_once(": #") else { continue };
        let name = name.rsplit("--").next().unwrap().to_owned();
        let channel = |at: usize| f64::from(u8::from_str_radix(&value[at..at + 2], 16).unwrap()) / 255.0;
        colours.insert(name, [channel(0), channel(2), channel(4)]);
    }
    colours
}

fn luminance(colour: [f64; 3]) -> f64 {
    let [r, g, b] = colour.map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn text_and_marks_stand_out_in_both_palettes() {
    for (scheme, colour) in ["light", "dark"].into_iter().zip(palettes()) {
        let check = |front: &str, back: &str, least: f64| {
            let found = contrast(colour[front], colour[back]);
            assert!(found >= least, "{scheme}: {front} on {back} is {found:.2}, expected {least}");
        };
        for back in ["page", "panel"] {
            for front in ["ink", "soft", "link"] {
                check(front, back, 4.5);
            }
            (0..8).for_each(|index| check(&format!("s{index}"), back, 3.0));
        }
        for kind in ["good", "bad", "open"] {
            check(kind, &format!("{kind}-back"), 4.5);
        }
    }
}

#[test]
fn numbers_stand_out_on_every_step() {
    let [colour, _] = palettes();
    let (white, black) = ([1.0; 3], [16.0 / 255.0, 21.0 / 255.0, 27.0 / 255.0]);
    for (step, text) in [(0, white), (1, white), (2, black), (3, black), (4, black), (5, black), (6, white)] {
        let found = contrast(colour[&format!("q{step}")], text);
        assert!(found >= 4.5, "q{step}: {found:.2}");
    }
}

#[test]
fn the_style_sheet_loads_nothing_and_is_plain_in_xml() {
    for forbidden in ["url(", "@import", "http", "<", "&", "javascript"] {
        assert!(!STYLE.contains(forbidden), "{forbidden}");
    }
}
