//! Plots in HTML: the drawing, what its marks mean, and its numbers.

use super::table;
use crate::lang::Text;
use crate::plot::{Chart, Form, Matrix, Plot};
use crate::report::markup::Markup;
use crate::report::svg;

/// `plot` as a figure.
pub(super) fn plot(out: &mut Markup, plot: &Plot) {
    let wide = matches!(&plot.form, Form::Matrix(matrix) if matrix.labels.len() > 8);
    out.block("figure", &[("class", if wide { "wide" } else { "plot" })], |out| {
        out.leaf("figcaption", &[], &caption(plot));
        if wide {
            let region = [("class", "scroll"), ("tabindex", "0"), ("role", "region"), ("aria-label", &*plot.title)];
            out.block("div", &region, |out| svg::draw(out, plot));
        } else {
            svg::draw(out, plot);
        }
        key(out, plot);
        for note in &plot.notes {
            out.leaf("p", &[("class", "note")], note);
        }
        out.block("details", &[("class", "numbers")], |out| {
            out.leaf("summary", &[], Text::new("The numbers", "수치 보기").get(plot.lang));
            table::table(out, &plot.table());
        });
    });
}

/// The title, with the unit where the drawing does not say it.
fn caption(plot: &Plot) -> String {
    match &plot.form {
        Form::Matrix(matrix) => format!("{} ({})", plot.title, svg::unit(matrix)),
        _ => plot.title.clone(),
    }
}

/// How to read the marks.
fn key(out: &mut Markup, plot: &Plot) {
    match &plot.form {
        Form::Chart(chart) => legend(out, chart),
        Form::Matrix(matrix) => steps(out, plot, matrix),
        Form::Strips(_) => {}
    }
}

fn legend(out: &mut Markup, chart: &Chart) {
    out.block("ul", &[("class", "legend")], |out| {
        for (index, series) in chart.series.iter().enumerate() {
            out.element("li", &[], |out| {
                svg::swatch(out, series, index);
                out.text(&series.name);
            });
        }
    });
}

/// The steps of quality that occur.
fn steps(out: &mut Markup, plot: &Plot, matrix: &Matrix) {
    let occurs = |step: usize| matrix.values.iter().flatten().flatten().any(|value| svg::step(matrix.quality(*value)) == step);
    out.block("ul", &[("class", "legend")], |out| {
        for step in (0..=svg::STEPS.len()).filter(|step| occurs(*step)) {
            let text = match svg::STEPS.get(step) {
                Some(least) => Text::new("{} % of the best, or more", "최고의 {} % 이상").fill(plot.lang, &[&(least * 100.0).round()]),
                None => Text::new("less", "그보다 낮음").get(plot.lang).to_owned(),
            };
            let class = format!("chip q{step}");
            out.element("li", &[], |out| {
                out.leaf("span", &[("class", &class), ("aria-hidden", "true")], "");
                out.text(&text);
            });
        }
    });
}
