use super::*;
use crate::lang::Lang;
use crate::plot::{Axis, Chart, Line, Matrix, Point, Reference, Scale, Series, Side, Span, Strip, Strips, Unit};
use crate::stats::Interval;

fn drawn(form: Form) -> String {
    let mut page = Markup::default();
    draw(&mut page, &Plot::new("T", "A", form, Lang::En));
    page.finish()
}

fn chart(points: &[(f64, f64)]) -> Chart {
    let points = points.iter().map(|&(x, y)| Point { named: true, range: Some((y * 0.9, y * 1.1)), ..Point::new(x, y, "p") }).collect();
    let series = Series { name: "s".to_owned(), points, line: Line::Solid, dots: true };
    Chart::new(Axis::new("size", Unit::Bytes, Scale::Logarithmic), Axis::new("rate", Unit::BytesPerSecond, Scale::FromZero), vec![series])
}

/// Every number that stands for a coordinate.
fn coordinates(svg: &str) -> Vec<f64> {
    let values = ["x", "y", "x1", "x2", "y1", "y2", "width", "height", "points"].iter().flat_map(|name| {
        let pattern = format!(" {name}=\"");
        svg.split(&*pattern).skip(1).map(|rest| rest.split('"').next().unwrap_or("").to_owned()).collect::<Vec<_>>()
    });
    values.flat_map(|text| text.split([' ', ',']).map(|number| number.parse().unwrap()).collect::<Vec<f64>>()).collect()
}

#[test]
fn everything_lies_inside_the_drawing() {
    let mut wild = chart(&[(1.0, 1.0), (1e12, 3e12), (1e50, 1e-40), (7.0, 1e50)]);
    wild.references.push(Reference { side: Side::Y, at: 1e40, name: "r".repeat(500) });
    wild.spans.push(Span { from: 1e3, to: 1e9, name: "span".to_owned() });
    let row = |samples: Vec<f64>| Strip {
        label: "x".repeat(300),
        median: Interval::new(samples[0], samples[0], samples[0]),
        samples,
        rejected: vec![5e40],
    };
    let strips =
        Strips { axis: Axis::new("rate", Unit::BytesPerSecond, Scale::Near), rows: vec![row(vec![1.0, 1.0, 1e30]), row(vec![2.0])] };
    for form in [Form::Chart(wild), Form::Chart(chart(&[])), Form::Chart(chart(&[(5.0, 5.0)])), Form::Strips(strips)] {
        let svg = drawn(form);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let outside: Vec<f64> = coordinates(&svg).into_iter().filter(|number| !(-1.0..=WIDTH + 1.0).contains(number)).collect();
        assert_eq!(outside, [0.0; 0], "{svg}");
    }
}

#[test]
fn a_chart_has_its_text_alternative_and_its_marks() {
    let svg = drawn(Form::Chart(chart(&[(4096.0, 1e9), (1048576.0, 2e9)])));
    assert!(svg.contains(r#"role="img" aria-labelledby="title-1 about-2""#));
    assert!(svg.contains(r#"<title id="title-1">T</title><desc id="about-2">A</desc>"#));
    for text in [">4 KiB<", ">1 MiB<", ">2.0<", ">rate (GB/s)<", ">size<", "<title>s: p (4 KiB, 1.000 GB/s)</title>"] {
        assert!(svg.contains(text), "{text} in {svg}");
    }
}

#[test]
fn a_matrix_says_how_far_behind_the_best_each_pair_is() {
    let matrix = Matrix {
        rows: "from".to_owned(),
        columns: "to".to_owned(),
        labels: vec!["0".to_owned(), "1".to_owned()],
        values: vec![vec![None, Some(400e9)], vec![Some(98e9), None]],
        unit: Unit::BytesPerSecond,
        larger_is_better: true,
    };
    assert_eq!(matrix::Scale::of(&matrix).unit, "GB/s");
    let svg = drawn(Form::Matrix(matrix));
    for text in [r#"class="value q0""#, ">400<", r#"class="value q6""#, ">98.0<", r#"class="none""#, "<title>1 → 0: 98.00 GB/s</title>"] {
        assert!(svg.contains(text), "{text} in {svg}");
    }
}
