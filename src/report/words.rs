//! Words on a terminal: their width, wrapping, and what must not reach it.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::figure::Basis;
use crate::lang::{Lang, Text};

/// Columns that `text` takes on a terminal; Korean and other wide characters take two.
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` on one line, without anything a terminal would obey: white space becomes a space, and control characters, direction overrides and
/// invisible characters are written out as `\u{…}`.
pub(super) fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => clean.push(' '),
            _ if is_obeyed(c) => clean.extend(c.escape_unicode()),
            _ => clean.push(c),
        }
    }
    clean
}

/// `text` for a format that keeps its white space: what a terminal would obey beyond line breaks and tabs is written out as `\u{…}`, because
/// a format for programs is looked at on a terminal, too.
pub(super) fn visible(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) && !is_white(c) { clean.extend(c.escape_unicode()) } else { clean.push(c) }
    }
    clean
}

/// JSON text in which every character that a terminal would obey is an escape sequence of JSON's own, so that nothing is lost. (The JSON
/// standard wants that only below U+0020; a terminal obeys U+009B and the direction overrides as well.)
pub fn escaped(json: &str) -> String {
    let mut clean = String::with_capacity(json.len());
    for c in json.chars() {
        if is_obeyed(c) && !is_white(c) {
            // Such characters occur within strings only, where their escape means the same.
            for unit in c.encode_utf16(&mut [0; 2]) {
                clean.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            clean.push(c);
        }
    }
    clean
}

fn is_obeyed(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

fn is_white(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\t')
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Break `text` into lines of at most `limit` columns, at spaces where there are any and inside a word where it is longer than a line.
/// At least one line; a limit below 2 counts as 2, the widest character.
pub(super) fn wrap(text: &str, limit: usize) -> Vec<String> {
    let limit = limit.max(2);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let gap = usize::from(used > 0);
        if used + gap + width(word) <= limit {
            push(&mut lines, if gap == 1 { " " } else { "" });
            push(&mut lines, word);
            used += gap + width(word);
            continue;
        }
        if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let columns = c.width().unwrap_or(0);
            if used + columns > limit {
                lines.push(String::new());
                used = 0;
            }
            push(&mut lines, c.encode_utf8(&mut [0; 4]));
            used += columns;
        }
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

/// Columns of the longest word.
pub(super) fn longest_word(text: &str) -> usize {
    text.split(' ').map(width).max().unwrap_or(0)
}

/// What a basis is called for people.
pub(super) const fn basis_words(basis: Basis, lang: Lang) -> &'static str {
    Text::new(
        basis.words(),
        match basis {
            Basis::MeasuredHere => "이 장비에서 측정",
            Basis::MeasuredSameModel => "같은 GPU 모델에서 측정",
            Basis::Datasheet => "데이터시트",
            Basis::Guide => "가이드",
            Basis::Assumed => "가정",
        },
    )
    .get(lang)
}

/// The marks that occur and what they mean, on one line; `None` when no number carries a basis.
pub(super) fn legend(bases: &[Basis], lang: Lang) -> Option<String> {
    let parts: Vec<String> = bases.iter().map(|&basis| format!("{} {}", basis.mark(), basis_words(basis, lang))).collect();
    (!parts.is_empty()).then(|| parts.join(" · "))
}

/// A bar of `columns` columns, filled to `share` in eighths of a column. A share outside 0…1 fills none or all.
pub fn bar(share: f64, columns: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let filled = (share * columns as f64 * 8.0).round() as usize;
    let (whole, rest) = (filled / 8, filled % 8);
    let mut bar = "█".repeat(whole);
    if whole < columns {
        bar.push(EIGHTHS[rest]);
        bar.push_str(&" ".repeat(columns - whole - 1));
    }
    bar
}

/// One block character per value, its height from zero to the largest. Values that are no numbers leave a gap.
pub fn sparkline(values: &[f64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
    values
        .iter()
        .map(|&value| {
            if !value.is_finite() || most <= 0.0 {
                return ' ';
            }
            HEIGHTS[((value.max(0.0) / most * 8.0).ceil() as usize).clamp(1, 8) - 1]
        })
        .collect()
}
