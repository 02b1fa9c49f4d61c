//! Bars: each work a group, each server a bar, as long as its figure is against nats-server's.

use std::{io, path::Path};

use carillon_benches::drawing::{self, Area, BLUE, Drawn, GREEN, GREY, INK, LINES, ORANGE, PALE, PINK, write};
use plotters::{
    element::{PathElement, Rectangle},
    style::{Color, RGBColor},
};

use crate::{
    results::Results,
    servers::Server,
    works::{Figure, Work},
};

/// A picture of some works.
pub(crate) struct Plot {
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    figures: &'static [Figure],
}

/// All of them.
pub(crate) const PLOTS: [Plot; 4] = [
    Plot {
        file: "cpu.svg",
        title: "CPU time of the server for each delivery (less is better)",
        figures: &[Figure::CpuForDelivery],
    },
    Plot {
        file: "connections.svg",
        title: "Cost of a connection: memory and CPU time (less is better)",
        figures: &[Figure::MemoryForConnection, Figure::CpuForConnection],
    },
    Plot {
        file: "saturation.svg",
        title: "Deliveries each second at saturation, on one core (more is better)",
        figures: &[Figure::DeliveriesPerSecond],
    },
    Plot {
        file: "latency.svg",
        title: "Latency that 99 of 100 deliveries do not exceed (less is better)",
        figures: &[Figure::LatencyP99],
    },
];

const WIDTH: i32 = 960;
const MARGIN: i32 = 24;
const NAMES: i32 = 120;
/// For the figure behind each bar.
const LABELS: i32 = 170;
const TOP: i32 = 76;
const BOTTOM: i32 = 56;
const HEADING: i32 = 28;
const BAR: i32 = 18;
const BETWEEN_BARS: i32 = 5;
const BETWEEN_GROUPS: i32 = 16;
/// What is longer ends here, with a sign that it does.
const LONGEST: f64 = 3.0;
const GRID: f64 = 0.5;

const REFERENCE: RGBColor = RGBColor(130, 130, 130);

/// Told apart also by those who see few colours.
fn colour(server: Server) -> RGBColor {
    match server {
        Server::Carillon => BLUE,
        Server::Nats => ORANGE,
        Server::Mosquitto => GREEN,
        Server::Nchan => PINK,
        Server::Floor => GREY,
    }
}

impl Plot {
    /// The works that are in it and were measured.
    pub(crate) fn works<'a>(&self, results: &'a Results) -> Vec<&'a Work> {
        let is_here = |work: &&&Work| self.figures.contains(&work.figure);
        results.works.iter().filter(is_here).copied().collect()
    }

    /// Draws it into a directory. False: there is nothing to draw.
    pub(crate) fn draw(&self, results: &Results, directory: &Path) -> io::Result<bool> {
        let works = self.works(results);
        if works.is_empty() {
            return Ok(false);
        }
        let count = i32::try_from(works.len()).map_err(io::Error::other)?;
        let height = TOP + count * group(results) + BOTTOM;
        let draw = |area: &Area<'_>| self.draw_to(results, &works, area, height);
        drawing::draw(&directory.join(self.file), (WIDTH, height), draw)?;
        Ok(true)
    }

    fn draw_to(&self, results: &Results, works: &[&Work], area: &Area<'_>, height: i32) -> Drawn {
        let group = group(results);
        write(area, self.title, (MARGIN, 18), 20, INK)?;
        let machine = &results.machine;
        let told = format!(
            "1 is nats-server in the same round; medians of {}. {}, {} cores, Linux {}, {}",
            results.rounds_text(),
            machine.processor,
            machine.processors,
            machine.kernel,
            results.date
        );
        write(area, &told, (MARGIN, 46), 13, PALE)?;
        let scale = Scale::of(results, works);
        scale.grid(area, TOP, height - BOTTOM)?;
        for (place, work) in works.iter().enumerate() {
            let top = TOP + i32::try_from(place)? * group;
            write(area, work.what, (MARGIN, top + 4), 16, INK)?;
            for (place, &server) in results.servers.iter().enumerate() {
                let top = top + HEADING + i32::try_from(place)? * (BAR + BETWEEN_BARS);
                scale.bar(area, results, work, server, top)?;
            }
        }
        Ok(())
    }
}

/// Pixels of one work.
fn group(results: &Results) -> i32 {
    let servers = i32::try_from(results.servers.len()).unwrap_or(0);
    HEADING + servers * (BAR + BETWEEN_BARS) + BETWEEN_GROUPS
}

/// How long a bar is.
struct Scale {
    longest: f64,
}

impl Scale {
    fn of(results: &Results, works: &[&Work]) -> Self {
        let all = works.iter().flat_map(|work| results.servers.iter().map(|&server| length(results, work, server)));
        let longest = all.flatten().fold(1.0, f64::max).min(LONGEST);
        Self { longest: (longest / GRID).ceil() * GRID }
    }

    #[expect(clippy::cast_possible_truncation, reason = "pixels of a picture")]
    fn x(&self, length: f64) -> i32 {
        let room = f64::from(WIDTH - 2 * MARGIN - NAMES - LABELS);
        MARGIN + NAMES + (room * (length / self.longest).min(1.0)) as i32
    }

    fn grid(&self, area: &Area<'_>, top: i32, bottom: i32) -> Drawn {
        let mut at = 0.0;
        while at <= self.longest {
            let (x, colour) = (self.x(at), if (at - 1.0_f64).abs() < f64::EPSILON { REFERENCE } else { LINES });
            area.draw(&PathElement::new(vec![(x, top), (x, bottom)], colour))?;
            write(area, &format!("{at}"), (x - 6, bottom + 8), 13, PALE)?;
            at += GRID;
        }
        write(area, "times nats-server's", (self.x(0.0), bottom + 28), 13, PALE)
    }

    fn bar(&self, area: &Area<'_>, results: &Results, work: &Work, server: Server, top: i32) -> Drawn {
        write(area, server.name(), (MARGIN, top + 3), 14, INK)?;
        let begin = self.x(0.0);
        let Some(length) = length(results, work, server) else {
            return write(area, &results.text(work, server), (begin + 6, top + 4), 13, PALE);
        };
        let end = self.x(length).max(begin + 1);
        area.draw(&Rectangle::new([(begin, top), (end, top + BAR)], colour(server).filled()))?;
        let more = if length > self.longest { "… " } else { "" };
        let label = format!("{more}{} ({length:.2})", results.text(work, server));
        write(area, &label, (end + 6, top + 4), 13, INK)
    }
}

/// Against nats-server, or where that was not measured, against whoever has most.
fn length(results: &Results, work: &Work, server: Server) -> Option<f64> {
    if results.value(work, Server::Nats).is_some() {
        return results.ratio(work, server, Server::Nats);
    }
    let most = results.servers.iter().filter_map(|&server| results.value(work, server)).fold(0.0, f64::max);
    Some(results.value(work, server)? / most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measure::Ran,
        results::tests::{results, well},
    };

    #[test]
    fn a_picture_names_all_servers_and_their_figures() {
        let directory = tempfile::tempdir().unwrap();
        let drowned = Ran::Drowned("x".to_owned());
        let results = results(&[
            (Server::Carillon, vec![well(5.0)]),
            (Server::Nats, vec![well(10.0)]),
            (Server::Nchan, vec![well(90.0)]),
            (Server::Mosquitto, vec![drowned]),
        ]);
        assert!(PLOTS[0].draw(&results, directory.path()).unwrap());
        assert!(!PLOTS[1].draw(&results, directory.path()).unwrap());
        let svg = std::fs::read_to_string(directory.path().join(PLOTS[0].file)).unwrap();
        for text in ["Carillon", "nats-server", "5.00 ns (0.50)", "… 90.0 ns (9.00)", "drowned"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }
}
