//! A report as one HTML page.
//!
//! The page needs nothing but itself: style and drawings are inside, there is no script, and its content security policy forbids everything
//! but its own style, so that even markup which should not be there could do nothing. It follows the reader's preference for light or dark,
//! prints, and is as narrow as a telephone. Every drawing has a title, a description and its numbers as a table. All of it is written
//! through [`Markup`](super::markup::Markup), which has no way around escaping.

mod plot;
mod table;
mod verdict;

#[cfg(test)]
mod tests;

use super::markup::Markup;
use super::page::{Item, Page, Section};
use crate::lang::Text;

/// Nothing may be loaded, run or sent; only the style inside the page counts.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = include_str!("style.css");

/// The page as HTML text.
pub fn html(page: &Page) -> String {
    let mut out = Markup::document();
    out.block("html", &[("lang", &page.lang.to_string())], |out| {
        out.block("head", &[], |out| head(out, page));
        // Several machines side by side need more room than a text should have.
        let class = if page.machines.len() > 1 { "many" } else { "one" };
        out.block("body", &[("class", class)], |out| {
            header(out, page);
            out.block("main", &[], |out| page.sections.iter().for_each(|section| self::section(out, page, section)));
            footer(out, page);
        });
    });
    out.finish()
}

fn head(out: &mut Markup, page: &Page) {
    out.empty("meta", &[("charset", "utf-8")]);
    out.empty("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]);
    out.empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
    out.empty("meta", &[("name", "color-scheme"), ("content", "light dark")]);
    out.empty("meta", &[("name", "generator"), ("content", &page.program)]);
    out.leaf("title", &[], &page.title);
    out.style(STYLE);
}

fn header(out: &mut Markup, page: &Page) {
    out.block("header", &[], |out| {
        out.leaf("h1", &[], &page.title);
        if page.simulated {
            const MARK: Text = Text::new(
                "SIMULATED: a stand-in driver took the place of hardware. These numbers are a scenario's, not a machine's.",
                "SIMULATED: 실제 하드웨어가 아니라 대역 드라이버로 얻은 값이다. 어떤 장비의 측정값도 아니다.",
            );
            out.leaf("p", &[("class", "simulated")], MARK.get(page.lang));
        }
        let label = Text::new("Sections", "목차").get(page.lang);
        out.block("nav", &[("aria-label", label)], |out| {
            out.element("ul", &[], |out| {
                for section in &page.sections {
                    let link = format!("#{}", section.id);
                    out.element("li", &[], |out| out.leaf("a", &[("href", &link)], &section.title));
                }
            });
        });
    });
}

fn footer(out: &mut Markup, page: &Page) {
    const MADE: Text = Text::new(
        "Made by {} from recorded samples. Nothing on this page was loaded from anywhere.",
        "{} 프로그램이 기록된 표본으로 만들었다. 이 페이지는 외부에서 아무것도 불러오지 않는다.",
    );
    out.block("footer", &[], |out| out.leaf("p", &[], &MADE.fill(page.lang, &[&page.program])));
}

fn section(out: &mut Markup, page: &Page, section: &Section) {
    let title = out.identifier("section");
    out.block("section", &[("id", section.id), ("aria-labelledby", &title)], |out| {
        out.leaf("h2", &[("id", &title)], &section.title);
        if !section.about.is_empty() {
            out.leaf("p", &[("class", "about")], &section.about);
        }
        let class = if section.panels.len() > 1 { "panels several" } else { "panels" };
        out.block("div", &[("class", class)], |out| {
            for (machine, items) in &section.panels {
                let name = page.machines.get(machine.unwrap_or(usize::MAX)).filter(|_| page.machines.len() > 1);
                panel(out, page, name.map(String::as_str), items);
            }
        });
    });
}

fn panel(out: &mut Markup, page: &Page, name: Option<&str>, items: &[Item]) {
    out.block("div", &[("class", "panel")], |out| {
        if let Some(name) = name {
            out.leaf("h3", &[("class", "machine")], name);
        }
        items.iter().for_each(|item| self::item(out, page, item));
    });
}

fn item(out: &mut Markup, page: &Page, item: &Item) {
    match item {
        Item::Table(table) => table::table(out, table),
        Item::Plot(plot) => plot::plot(out, plot),
        Item::Words(words) => out.block("p", &[("class", "words")], |out| out.text(words)),
        Item::Command(command) => {
            // It scrolls where it does not fit, so the keyboard has to reach it.
            let label = Text::new("command", "명령").get(page.lang);
            out.block("pre", &[("tabindex", "0"), ("role", "group"), ("aria-label", label)], |out| out.leaf("code", &[], command));
        }
        Item::Verdict(assessment) => verdict::verdict(out, assessment, page.lang),
        Item::Folded { title, items } => folded(out, page, title, items),
    }
}

fn folded(out: &mut Markup, page: &Page, title: &str, items: &[Item]) {
    out.block("details", &[], |out| {
        out.leaf("summary", &[], title);
        items.iter().for_each(|item| self::item(out, page, item));
    });
}
