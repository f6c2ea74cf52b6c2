//! How long to wait before a server is asked again.

use std::{
    process,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kernels::random::{Purpose, Random, Stream};

/// The longest wait between two attempts that nobody asked for.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits that grow with each failure, of random length, so that many clients of a server that
/// failed do not all come back at once.
#[derive(Debug)]
pub(super) struct Patience {
    first: Duration,
    random: Stream,
}

impl Patience {
    /// Waits about `first` after the first failure.
    pub(super) fn new(first: Duration) -> Self {
        let now = now().as_nanos() as u64;
        let seed = now ^ u64::from(process::id()).rotate_left(32);
        Self { first, random: Random::new(seed, Purpose::Sampling, 0).stream() }
    }

    /// The wait after so many failures in a row: between half of a time that doubles, and all.
    pub(super) fn wait(&mut self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << (failures - 1).min(16));
        doubled.min(LONGEST).mul_f64(0.5 + 0.5 * self.random.uniform_f64())
    }
}

/// Time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wait that the header `Retry-After` asks for: seconds or a date (RFC 9110, §10.2.3).
pub(super) fn asked(header: &str) -> Option<Duration> {
    let header = header.trim();
    let seconds = header.parse().ok().or_else(|| date(header)?.checked_sub(now().as_secs()));
    seconds.map(Duration::from_secs)
}

/// Seconds from 1970 to a date of HTTP such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110,
/// §5.6.7; the obsolete forms are not read).
fn date(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let [day, month, year, time, "GMT"] =
        text.split_once(", ")?.1.split(' ').collect::<Vec<_>>()[..]
    else {
        return None;
    };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let month = MONTHS.find(month).filter(|_| month.len() == 3)? as u64 / 3;
    let [hour, minute, second] = time
        .split(':')
        .map(|part| part.parse::<u8>().ok().map(u64::from))
        .collect::<Option<Vec<_>>>()?
        .try_into()
        .ok()?;
    if !(1970..10_000).contains(&year) || !(1..32).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last of its year.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let leaps = year / 4 - year / 100 + year / 400;
    let days = 365 * year + leaps + (153 * month + 2) / 5 + day - 1;
    const DAYS_TO_1970: u64 = 719_468; // from the first of March of the year 0
    Some(((days - DAYS_TO_1970) * 24 + hour) * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_somewhere() {
        let mut patience = Patience::new(Duration::from_secs(1));
        for (failures, most) in [(1, 1.0), (2, 2.0), (3, 4.0), (40, 60.0)] {
            let wait = patience.wait(failures).as_secs_f64();
            assert!((most / 2.0..=most).contains(&wait), "{failures}: {wait}");
        }
    }

    #[test]
    fn servers_ask_in_seconds_or_with_a_date() {
        assert_eq!(asked(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), None); // long past
        assert_eq!(asked("soon"), None);
        // RFC 9110 §5.6.7 gives the form; `date --utc --date=… +%s` the numbers.
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(date("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1));
        assert_eq!(date("Thu, 01 Foo 1970 00:00:01 GMT"), None);
    }
}
