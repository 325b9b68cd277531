//! The picture of a storm as SVG: a row for each machine in the order in which they booted, and the curve of
//! completion beside it.

use std::fmt::Write as _;

use ripple_tftpd::moment::Moment;

use crate::report::bytes;
use crate::results::Results;
use crate::seat::{Fate, Seat};
use crate::server_view::Sample;
use crate::track::Phase;

/// The whole picture.
pub(crate) fn drawing(results: &Results<'_>) -> String {
    let mut seats: Vec<&Seat> = results.seats.iter().collect();
    seats.sort_by_key(|seat| order(seat));
    let scene = Scene::new(results, &seats);
    let mut svg = Svg::default();
    scene.frame(&mut svg, results);
    scene.rows(&mut svg, &seats);
    scene.curve(&mut svg, results, &seats);
    svg.text
}

/// Those who booted, in that order; then those who did not.
fn order(seat: &Seat) -> (u8, Moment, Moment) {
    let group = match seat.fate {
        Fate::Booted => 0,
        Fate::UnderWay => 1,
        Fate::Failed(_) => 2,
    };
    let ended = seat.ended.unwrap_or(Moment::START);
    (group, ended, seat.planned.on_at)
}

/// What stands before a row.
fn name(seat: &Seat) -> String {
    format!("{} {}", seat.planned.kind.name(), seat.planned.address)
}

/// Where everything lies, in pixels.
struct Scene {
    /// Seconds from left to right.
    seconds: f64,
    ended: Moment,
    left: f64,
    pitch: f64,
    height: f64,
    has_labels: bool,
}

impl Scene {
    fn new(results: &Results<'_>, seats: &[&Seat]) -> Scene {
        let count = seats.len().max(1) as f64;
        let last = seats.iter().filter_map(|seat| seat.ended).max();
        let ended = match last {
            Some(last) if results.unfinished == 0 => last,
            _ => results.ended,
        };
        let pitch = (ROWS_HEIGHT_MAX / count).min(PITCH_MAX);
        let has_labels = LABEL_PITCH <= pitch;
        Scene {
            seconds: ended.since(Moment::START).as_secs_f64().max(0.001),
            ended,
            left: if has_labels {
                let longest = seats.iter().map(|seat| name(seat).chars().count()).max();
                MARGIN + LETTER * longest.unwrap_or(0) as f64
            } else {
                64.0
            },
            pitch,
            height: (pitch * count).max(HEIGHT_MIN),
            has_labels,
        }
    }

    fn rows_width(&self) -> f64 {
        ROWS_RIGHT - self.left
    }

    fn x(&self, at: Moment) -> f64 {
        self.left + self.rows_width() * at.since(Moment::START).as_secs_f64() / self.seconds
    }

    fn bottom(&self) -> f64 {
        TOP + self.height
    }

    /// Title, legend, axes.
    fn frame(&self, svg: &mut Svg, results: &Results<'_>) {
        let height = self.bottom() + 62.0;
        svg.open(WIDTH, height);
        let count = results.seats.len();
        let title = format!(
            "{} of {count} machine{} booted in {}",
            results.booted,
            if count == 1 { "" } else { "s" },
            seconds(results.makespan.as_secs_f64())
        );
        svg.label("title", MARGIN, 38.0, &title);
        let kinds: Vec<String> = results
            .kinds
            .iter()
            .map(|(kind, count)| format!("{count} {}", kind.name()))
            .collect();
        let mut line = format!(
            "{} from {} · {} · goodput {}/s",
            results.order.wanted.title,
            results.order.server,
            kinds.join(", "),
            bytes(results.goodput())
        );
        if 0.0 < results.order.loss.percent {
            let _ = write!(line, " · {} % loss", results.order.loss.percent);
        }
        svg.label("small", MARGIN, 60.0, &shortened(&line, 170));
        self.legend(svg);
        self.time_axis(svg, self.left, self.rows_width());
        self.time_axis(svg, CURVE_LEFT, CURVE_RIGHT - CURVE_LEFT);
        if !self.has_labels {
            for number in ticks(count as f64) {
                let number = number.min(count as f64);
                let y = TOP + self.pitch * number;
                svg.end_label("small", self.left - 8.0, y + 4.0, &format!("{number:.0}"));
            }
            let middle = TOP + self.height / 2.0;
            svg.line_of_text(&format!(
                r#"<text class="small" text-anchor="middle" transform="translate({:.1} {middle:.1}) rotate(-90)">machines, in the order they booted</text>"#,
                self.left - 46.0
            ));
        }
    }

    fn legend(&self, svg: &mut Svg) {
        let mut x = self.left;
        let entries = [
            ("waiting", "waiting for an answer", 172.0),
            ("kept", "answered, hardly any data", 200.0),
            ("moving", "transferring", 118.0),
        ];
        let y = TOP - 22.0;
        for (class, text, width) in entries {
            svg.line_of_text(&format!(
                r#"<rect class="{class}-fill" x="{x:.1}" y="{:.1}" width="12" height="12" rx="2"/>"#,
                y - 10.5
            ));
            svg.label("small", x + 18.0, y, text);
            x += width;
        }
        svg.line_of_text(&cross(x + 6.0, y - 4.5, 4.5));
        svg.label("small", x + 18.0, y, "failed");
        svg.label("small", CURVE_LEFT, y, "machines that have booted");
    }

    fn time_axis(&self, svg: &mut Svg, left: f64, width: f64) {
        let mut grid = String::new();
        for tick in ticks(self.seconds) {
            let x = left + width * tick / self.seconds;
            let _ = write!(grid, "M{x:.1} {TOP:.1}v{:.1}", self.height + 5.0);
            let text = format!("{}", Rounded(tick));
            svg.middle_label("small", x, self.bottom() + 20.0, &text);
        }
        svg.path("grid", &grid);
        svg.middle_label(
            "small",
            left + width / 2.0,
            self.bottom() + 40.0,
            "seconds since the power came",
        );
    }

    /// All spans of a phase are one path: a picture of a thousand machines stays small.
    fn rows(&self, svg: &mut Svg, seats: &[&Seat]) {
        let thickness = if self.is_dense() {
            // A little more than the pitch, lest the background shines through.
            self.pitch * 1.15
        } else {
            self.pitch * 0.72
        };
        let layers = [
            (Phase::Waiting, "waiting"),
            (Phase::KeptAlive, "kept"),
            (Phase::Transferring, "moving"),
        ];
        for (phase, class) in layers {
            let mut path = String::new();
            for (row, seat) in seats.iter().enumerate() {
                let y = self.row_y(row);
                let spans = seat.track.spans(seat.ended.unwrap_or(self.ended));
                for span in spans.filter(|span| span.phase == phase) {
                    let (from, to) = (self.x(span.from), self.x(span.to));
                    let width = (to - from).max(match phase {
                        Phase::Transferring if self.is_dense() => HAIR,
                        Phase::Transferring => 4.0 * HAIR,
                        Phase::Waiting | Phase::KeptAlive => 0.0,
                    });
                    if HAIR / 2.0 < width {
                        let _ = write!(path, "M{from:.2} {y:.2}h{width:.2}");
                    }
                }
            }
            svg.line_of_text(&format!(
                r#"<path class="{class}" stroke-width="{thickness:.2}" d="{path}"/>"#
            ));
        }
        let radius = (self.pitch * 0.3).clamp(2.2, 4.5);
        for (row, seat) in seats.iter().enumerate() {
            for &(at, _) in &seat.failures {
                let mark = cross(self.x(at), self.row_y(row), radius);
                if !self.is_dense() {
                    svg.line_of_text(&mark.replace(r#"class="failed""#, r#"class="halo""#));
                }
                svg.line_of_text(&mark);
            }
            if self.has_labels {
                svg.end_label("row", self.left - 8.0, self.row_y(row) + 3.5, &name(seat));
            }
        }
    }

    /// Rows are mere lines.
    fn is_dense(&self) -> bool {
        self.pitch < DENSE_PITCH
    }

    fn row_y(&self, row: usize) -> f64 {
        TOP + self.pitch * (row as f64 + 0.5)
    }

    fn curve(&self, svg: &mut Svg, results: &Results<'_>, seats: &[&Seat]) {
        let count = results.seats.len().max(1) as f64;
        let width = CURVE_RIGHT - CURVE_LEFT;
        let bottom = self.bottom();
        let x =
            |at: Moment| CURVE_LEFT + width * at.since(Moment::START).as_secs_f64() / self.seconds;
        let y = |machines: f64| bottom - self.height * machines / count;
        let mut grid = String::new();
        for share in [0.25, 0.5, 0.75, 1.0] {
            let _ = write!(grid, "M{CURVE_LEFT:.1} {:.1}h{width:.1}", y(share * count));
            let text = format!("{:.0} %", share * 100.0);
            svg.label("small", CURVE_RIGHT + 6.0, y(share * count) + 4.0, &text);
        }
        svg.path("grid", &grid);
        let line_of = |ends: &mut Vec<Moment>| {
            ends.sort_unstable();
            let mut line = format!("M{CURVE_LEFT:.1} {bottom:.1}");
            for (number, &at) in ends.iter().enumerate() {
                let _ = write!(line, "H{:.2}V{:.2}", x(at), y(number as f64 + 1.0));
            }
            let _ = write!(line, "H{:.2}", CURVE_LEFT + width);
            line
        };
        let ends = |wanted: fn(&Fate) -> bool| -> Vec<Moment> {
            let those = seats.iter().filter(|seat| wanted(&seat.fate));
            those.filter_map(|seat| seat.ended).collect()
        };
        let booted = line_of(&mut ends(|fate| *fate == Fate::Booted));
        svg.path("area", &format!("{booted}V{bottom:.1}Z"));
        svg.path("curve", &booted);
        let mut failed = ends(|fate| matches!(fate, Fate::Failed(_)));
        if !failed.is_empty() {
            let line = line_of(&mut failed);
            svg.path("failing", &line);
            let at = (y(failed.len() as f64) - 6.0).max(TOP + 14.0);
            let text = format!("{} failed", failed.len());
            svg.end_label("small failed-text", CURVE_RIGHT - 12.0, at, &text);
        }
        if let Some(view) = &results.server {
            let level = |of: fn(&Sample) -> u64| {
                let mut line = format!("M{CURVE_LEFT:.1} {bottom:.1}");
                for sample in view.samples.iter().filter(|it| it.at <= self.ended) {
                    let number = (of(sample) as f64).min(count);
                    let _ = write!(line, "H{:.2}V{:.2}", x(sample.at), y(number));
                }
                line
            };
            svg.path("its-waiting", &level(|it| it.waiting));
            svg.path("its-running", &level(|it| it.running));
            let text = "the server says: waiting (dashed), running (dotted)";
            svg.end_label("small", CURVE_RIGHT, bottom + 56.0, text);
        }
        svg.path(
            "axis",
            &format!(
                "M{:.1} {bottom:.1}h{:.1}M{CURVE_LEFT:.1} {bottom:.1}h{width:.1}",
                self.left,
                self.rows_width()
            ),
        );
        svg.close();
    }
}

/// A diagonal cross around a point.
fn cross(x: f64, y: f64, radius: f64) -> String {
    let (left, top, size) = (x - radius, y - radius, 2.0 * radius);
    format!(
        r#"<path class="failed" d="M{left:.1} {top:.1}l{size:.1} {size:.1}m0 -{size:.1}l-{size:.1} {size:.1}"/>"#
    )
}

/// Round numbers from 0 to `most`, some six of them.
fn ticks(most: f64) -> Vec<f64> {
    let rough = most / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&step| rough <= step)
        .unwrap_or(most);
    let numbers = (0..100).map(|number| f64::from(number) * step);
    numbers
        .take_while(|&tick| tick <= most * 1.000_001)
        .collect()
}

/// A number without digits that say nothing.
struct Rounded(f64);

impl std::fmt::Display for Rounded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:.4}", self.0);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{seconds:.1} s")
    }
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// The text of the picture.
#[derive(Default)]
struct Svg {
    text: String,
}

impl Svg {
    fn open(&mut self, width: f64, height: f64) {
        self.line_of_text(&format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}">"#
        ));
        self.line_of_text(STYLE);
        self.line_of_text(r#"<rect class="paper" width="100%" height="100%"/>"#);
    }

    fn close(&mut self) {
        self.line_of_text("</svg>");
    }

    fn line_of_text(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn path(&mut self, class: &str, commands: &str) {
        self.line_of_text(&format!(r#"<path class="{class}" d="{commands}"/>"#));
    }

    fn label(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.anchored(class, "start", x, y, text);
    }

    fn middle_label(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.anchored(class, "middle", x, y, text);
    }

    fn end_label(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.anchored(class, "end", x, y, text);
    }

    fn anchored(&mut self, class: &str, anchor: &str, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        self.line_of_text(&format!(
            r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        ));
    }
}

/// As XML wants it; other control characters have no place in it at all.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for mark in text.chars() {
        match mark {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            _ if mark.is_control() => safe.push('\u{fffd}'),
            _ => safe.push(mark),
        }
    }
    safe
}

const STYLE: &str = "<style>
text { font-family: 'DejaVu Sans', 'Helvetica Neue', Arial, sans-serif; fill: #333a44; }
.title { font-size: 22px; font-weight: bold; fill: #1d232b; }
.small { font-size: 12px; }
.row { font-size: 10.5px; }
.paper { fill: #ffffff; }
path { fill: none; }
.grid { stroke: #e6e8eb; stroke-width: 1; }
.axis { stroke: #8b939e; stroke-width: 1; }
.waiting { stroke: #f0c987; }
.kept { stroke: #a9cbe4; }
.moving { stroke: #1f6aa5; }
.waiting-fill { fill: #f0c987; }
.kept-fill { fill: #a9cbe4; }
.moving-fill { fill: #1f6aa5; }
.halo { stroke: #ffffff; stroke-width: 4.5; stroke-linecap: round; }
.failed { stroke: #c62f2f; stroke-width: 2; }
.failed-text { fill: #c62f2f; }
.curve { stroke: #2c7a4b; stroke-width: 2; }
.area { fill: #2c7a4b; fill-opacity: 0.13; }
.its-waiting { stroke: #b9791a; stroke-width: 1.5; stroke-dasharray: 6 3; }
.its-running { stroke: #1f6aa5; stroke-width: 1.5; stroke-dasharray: 2 2; }
.failing { stroke: #c62f2f; stroke-width: 2; stroke-dasharray: 5 3; }
</style>";

const WIDTH: f64 = 1240.0;
const MARGIN: f64 = 24.0;
const TOP: f64 = 116.0;
const ROWS_RIGHT: f64 = 850.0;
const CURVE_LEFT: f64 = 890.0;
const CURVE_RIGHT: f64 = 1184.0;
const ROWS_HEIGHT_MAX: f64 = 680.0;
const HEIGHT_MIN: f64 = 160.0;
const PITCH_MAX: f64 = 20.0;
/// Rows that are lower leave no room for a label.
const LABEL_PITCH: f64 = 11.0;
/// As wide as a letter of a label, on average.
const LETTER: f64 = 6.5;
const DENSE_PITCH: f64 = 4.0;
/// A transfer is never thinner than this.
const HAIR: f64 = 0.4;
