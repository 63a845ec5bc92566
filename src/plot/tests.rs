use super::*;
use crate::stats::Interval;
use crate::table::Cell;

fn axis(unit: Unit, scale: Scale) -> Axis {
    Axis::new("axis", unit, scale)
}

fn chart(series: Vec<Series>) -> Plot {
    let chart = Chart::new(axis(Unit::Bytes, Scale::Logarithmic), axis(Unit::BytesPerSecond, Scale::FromZero), series);
    Plot::new("title", "about", Form::Chart(chart), Lang::En)
}

fn series(points: Vec<Point>) -> Series {
    Series { name: "kind".to_owned(), points, line: Line::Solid, dots: true }
}

#[test]
fn sizes_are_whole_where_they_are() {
    assert_eq!(Unit::Bytes.show(4096.0, 3), "4 KiB");
    assert_eq!(Unit::Bytes.show(1e9, 3), "953.7 MiB");
    assert_eq!(Unit::FlopsPerByte.show(0.25, 2), "0.25 FLOP/B");
}

#[test]
fn what_has_no_place_on_an_axis_is_dropped() {
    let points = [(0.0, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0), (2.0, 3.0), (-1.0, 1.0), (1e300, 1.0)];
    let plot = chart(vec![series(points.map(|(x, y)| Point::new(x, y, "p")).to_vec()), series(Vec::new())]);
    let Form::Chart(chart) = &plot.form else { panic!("a chart") };
    assert_eq!(chart.series.len(), 1);
    assert_eq!(chart.series[0].points, [Point::new(2.0, 3.0, "p")]);
    assert!(plot.notes.is_empty());
}

#[test]
fn too_much_is_left_out_and_said() {
    let many = |count: usize| (0..count).map(|i| Point::new((i + 1) as f64, 1.0, "p")).collect();
    let plot = chart((0..10).map(|_| series(many(10_000))).collect());
    let Form::Chart(chart) = &plot.form else { panic!("a chart") };
    assert_eq!(chart.series.len(), bounds::MOST_SERIES);
    for series in &chart.series {
        assert_eq!(series.points.len(), bounds::MOST_POINTS);
        assert_eq!((series.points[0].x, series.points[bounds::MOST_POINTS - 1].x), (1.0, 10_000.0));
    }
    assert_eq!(plot.notes, ["2 more kinds are left out.", "Of 80000 points, 4000 are shown, evenly chosen."]);
}

#[test]
fn a_matrix_is_square_and_the_best_pair_is_the_measure() {
    let matrix = Matrix {
        rows: "from".to_owned(),
        columns: "to".to_owned(),
        labels: vec!["0".to_owned(), "1".to_owned()],
        values: vec![vec![None, Some(100.0)], vec![Some(50.0), Some(-1.0), Some(7.0)]],
        unit: Unit::BytesPerSecond,
        larger_is_better: true,
    };
    assert_eq!((matrix.quality(100.0), matrix.quality(50.0)), (1.0, 0.5));
    let plot = Plot::new("t", "a", Form::Matrix(matrix), Lang::En);
    let table = plot.table();
    assert_eq!(table.rows()[1][2], Cell::Empty, "the value that cannot be is gone");
    assert_eq!(table.columns().len(), 3);
}

#[test]
fn strips_keep_their_extremes_in_the_table() {
    let row =
        Strip { label: "GPU 0".to_owned(), samples: vec![1e9, 3e9], rejected: vec![f64::NAN, 9e9], median: Interval::new(2e9, 1e9, 3e9) };
    let strips = Strips { axis: axis(Unit::BytesPerSecond, Scale::Near), rows: vec![row] };
    let table = Plot::new("t", "a", Form::Strips(strips), Lang::Ko).table();
    let texts: Vec<String> = table.rows()[0]
        .iter()
        .map(|cell| match cell {
            Cell::Number(number) => number.shown.clone(),
            Cell::Text(text) => text.clone(),
            Cell::Empty => String::new(),
        })
        .collect();
    assert_eq!(texts, ["GPU 0", "2.000 GB/s", "1.000 GB/s", "3.000 GB/s", "1.000 GB/s", "3.000 GB/s", "2", "1"]);
}
