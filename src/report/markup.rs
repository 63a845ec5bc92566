//! Writing HTML and SVG so that nothing in it can be anything but text.
//!
//! Names of elements and attributes are fixed texts of this program; everything else goes through [`escape`], for which there is no way
//! around. An element is closed where it was opened, by construction, and identifiers are counted, so none occurs twice. The result is
//! HTML that an XML parser reads as well, which the tests make use of.

use super::words::harmless;

/// No text is longer: a name of a megabyte, in a hundred tables, would be a page that nobody can open.
const LONGEST: usize = 1000;

/// `text` as it may stand between tags and in quoted attributes: markup escaped, what a terminal or a browser would obey (control characters,
/// direction overrides, invisible characters) written out, white space made plain, and what is too long cut off.
pub(super) fn escape(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let mut escaped = String::with_capacity(shown.len() + 8);
    for c in harmless(&shown).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // No characters at all, to XML; a browser shows a box.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A page being written.
#[derive(Debug, Default)]
pub(super) struct Markup {
    out: String,
    identifiers: usize,
}

/// Names and values.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Markup {
    /// Nothing but the document type yet.
    pub(super) fn document() -> Self {
        Self { out: "<!DOCTYPE html>\n".to_owned(), identifiers: 0 }
    }

    /// What was written.
    pub(super) fn finish(self) -> String {
        self.out
    }

    /// An identifier that nothing else on the page has.
    pub(super) fn identifier(&mut self, stem: &'static str) -> String {
        self.identifiers += 1;
        format!("{stem}-{}", self.identifiers)
    }

    /// An element with what `inside` writes.
    pub(super) fn element(&mut self, name: &'static str, attributes: Attributes<'_>, inside: impl FnOnce(&mut Self)) {
        self.open(name, attributes);
        self.out.push('>');
        inside(self);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// An element on lines of its own, for those who read the source.
    pub(super) fn block(&mut self, name: &'static str, attributes: Attributes<'_>, inside: impl FnOnce(&mut Self)) {
        self.element(name, attributes, |page| {
            page.out.push('\n');
            inside(page);
            if !page.out.ends_with('\n') {
                page.out.push('\n');
            }
        });
        self.out.push('\n');
    }

    /// An element that holds a text.
    pub(super) fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.element(name, attributes, |page| page.text(text));
    }

    /// An element without content.
    pub(super) fn empty(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.open(name, attributes);
        self.out.push_str("/>");
    }

    /// A text.
    pub(super) fn text(&mut self, text: &str) {
        self.out.push_str(&escape(text));
    }

    /// A style sheet of this program's own.
    pub(super) fn style(&mut self, sheet: &'static str) {
        self.out.push_str("<style>\n");
        self.out.push_str(sheet);
        self.out.push_str("</style>\n");
    }

    fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.out.push('<');
        self.out.push_str(name);
        for (attribute, value) in attributes {
            self.out.push(' ');
            self.out.push_str(attribute);
            self.out.push_str("=\"");
            self.out.push_str(&escape(value));
            self.out.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_is_text() {
        assert_eq!(escape(r#"<script>alert("1 & '2'")</script>"#), "&lt;script&gt;alert(&quot;1 &amp; &#39;2&#39;&quot;)&lt;/script&gt;");
    }

    #[test]
    fn what_a_terminal_or_a_browser_would_obey_is_written_out() {
        assert_eq!(escape("a\u{202e}b\u{1b}[31m\u{0}\n\u{feff}"), r"a\u{202e}b\u{1b}[31m\u{0} \u{feff}");
    }

    #[test]
    fn a_long_text_is_cut() {
        let cut = escape(&"나".repeat(5000));
        assert_eq!(cut.chars().count(), LONGEST + 1);
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn elements_are_closed_and_identifiers_counted() {
        let mut page = Markup::default();
        let id = page.identifier("plot");
        assert_ne!(id, page.identifier("plot"));
        page.element("p", &[("id", &id), ("title", "a\"b")], |page| page.empty("br", &[]));
        assert_eq!(page.finish(), "<p id=\"plot-1\" title=\"a&quot;b\"><br/></p>");
    }

    proptest! {
        #[test]
        fn nothing_escapes(text in "\\PC{0,40}|[\\x00-\\x7f<>&'\"\u{202e}]{0,40}") {
            let escaped = escape(&text);
            let active = ['<', '>', '"', '\'', '\u{202e}', '\u{1b}', '\n'];
            prop_assert!(!escaped.contains(active), "{escaped}");
            let references = ["amp;", "lt;", "gt;", "quot;", "#39;"];
            let whole = escaped.split('&').skip(1).all(|rest| references.iter().any(|name| rest.starts_with(name)));
            prop_assert!(whole, "{escaped}");
        }
    }
}
