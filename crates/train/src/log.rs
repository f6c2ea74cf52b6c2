//! The record of a run that a person, a spreadsheet and TensorBoard can read.
//!
//! A checkpoint stores how long each file was. A run that resumes from it cuts them to that
//! length, so that its record is the one of a run that was never interrupted.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Seek, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    Error, Result,
    event::{COLUMNS, Event, Report, Sample, Validated},
    tensorboard,
    watch::{self, Watched},
};

/// Length of each file of the record, in bytes, by name.
pub(crate) type Lengths = BTreeMap<String, u64>;

const LINES: &str = "train.log";
const METRICS: &str = "metrics.csv";
const SAMPLES: &str = "samples.txt";
const SCALARS: &str = "tensorboard/events.out.tfevents.0.nmt";

const METRICS_HEAD: &str = "step,epoch,set,loss_nats_per_token,perplexity,learning_rate,\
                            gradient_norm,bleu,chrf,alignment_nats_per_guided_token,\
                            target_tokens_per_second,elapsed_seconds\n";

/// The files of a run's record, open for more.
#[derive(Debug)]
pub(crate) struct Logs {
    lines: LogFile,
    metrics: LogFile,
    samples: LogFile,
    alignments: LogFile,
    scalars: LogFile,
}

impl Logs {
    /// Opens the record in `run`, each file cut to the length that `lengths` has for it; new
    /// files begin with their head.
    pub(crate) fn open(run: &Path, lengths: &Lengths) -> Result<Self> {
        let folder = run.join("tensorboard");
        fs::create_dir_all(&folder).map_err(|source| Error::write(&folder, source))?;
        let open = |name: &str, head: &[u8]| {
            LogFile::open(run.join(name), lengths.get(name).copied().unwrap_or(0), head)
        };
        Ok(Self {
            lines: open(LINES, format!("{COLUMNS}\n").as_bytes())?,
            metrics: open(METRICS, METRICS_HEAD.as_bytes())?,
            samples: open(SAMPLES, b"")?,
            alignments: open(watch::FILE, b"")?,
            scalars: open(SCALARS, &tensorboard::head(now()))?,
        })
    }

    /// Writes down what belongs into the record.
    pub(crate) fn record(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Report(report) => self.report(report),
            Event::Validated(validated) => self.validated(validated),
            _ => Ok(()),
        }
    }

    /// Makes sure that all is on disk, and says how long the files are.
    pub(crate) fn lengths(&mut self) -> Result<Lengths> {
        let files = [
            (LINES, &self.lines),
            (METRICS, &self.metrics),
            (SAMPLES, &self.samples),
            (watch::FILE, &self.alignments),
            (SCALARS, &self.scalars),
        ];
        files.into_iter().map(|(name, file)| Ok((name.to_string(), file.sync()?))).collect()
    }

    fn report(&mut self, report: &Report) -> Result<()> {
        self.lines.append(format!("{report}\n").as_bytes())?;
        let Report { step, epoch, loss, lr, grad_norm, tokens_per_second, elapsed, .. } = report;
        let alignment = report.alignment.map_or(String::new(), |nats| nats.to_string());
        let (ppl, seconds) = (loss.exp(), elapsed.as_secs_f64());
        self.metrics.append(
            format!(
                "{step},{epoch},train,{loss},{ppl},{lr},{grad_norm},,,{alignment},\
                 {tokens_per_second:.1},{seconds:.3}\n"
            )
            .as_bytes(),
        )?;
        let mut values = vec![
            ("train/loss", *loss),
            ("train/learning_rate", *lr),
            ("train/gradient_norm", *grad_norm),
            ("train/target_tokens_per_second", *tokens_per_second),
        ];
        values.extend(report.alignment.map(|nats| ("train/alignment", nats)));
        self.scalars.append(&tensorboard::scalars(now(), *step, &values))
    }

    fn validated(&mut self, validated: &Validated) -> Result<()> {
        self.lines.append(format!("{validated}\n").as_bytes())?;
        let Validated { step, epoch, loss, scores, elapsed, samples, watched, .. } = validated;
        let (ppl, seconds) = (loss.exp(), elapsed.as_secs_f64());
        let mut values = vec![("valid/loss", *loss), ("valid/perplexity", ppl)];
        let mut columns = ",".to_string();
        if let Some(scores) = scores {
            values.extend([("valid/bleu", scores.bleu), ("valid/chrf", scores.chrf)]);
            columns = format!("{},{}", scores.bleu, scores.chrf);
        }
        self.metrics.append(
            format!("{step},{epoch},valid,{loss},{ppl},,,{columns},,,{seconds:.3}\n").as_bytes(),
        )?;
        self.scalars.append(&tensorboard::scalars(now(), *step, &values))?;

        let mut text = String::new();
        for Sample { src, reference, translation } in samples {
            for (what, line) in
                [("source", src), ("reference", reference), ("translation", translation)]
            {
                text.push_str(&format!("step {step}  {what:<11}  {line}\n"));
            }
            text.push('\n');
        }
        self.samples.append(text.as_bytes())?;
        let watched: String = watched.iter().map(Watched::to_line).collect();
        self.alignments.append(watched.as_bytes())
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A file that only grows, except when it is opened.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    len: u64,
}

impl LogFile {
    /// Opens a file and cuts it to `len` bytes; one that is new, or cut to nothing, gets `head`.
    /// A file that is shorter, because somebody shortened it, goes on from where it ends.
    fn open(path: PathBuf, len: u64, head: &[u8]) -> Result<Self> {
        let wrong = |source| Error::write(&path, source);
        let mut options = File::options();
        let mut file =
            options.write(true).create(true).truncate(false).open(&path).map_err(wrong)?;
        let len = len.min(file.metadata().map_err(wrong)?.len());
        file.set_len(len).map_err(wrong)?;
        file.seek(SeekFrom::End(0)).map_err(wrong)?;
        let mut log = Self { path, file, len };
        if len == 0 {
            log.append(head)?;
        }
        Ok(log)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| Error::write(&self.path, source))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&self) -> Result<u64> {
        self.file.sync_data().map_err(|source| Error::write(&self.path, source))?;
        Ok(self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::Scores;

    fn report(step: u64) -> Event {
        Event::Report(Report {
            step,
            epoch: 1,
            loss: 4.5 - step as f64 / 100.0,
            alignment: (step > 10).then_some(1.5),
            lr: 1e-3,
            grad_norm: 1.25,
            tokens_per_second: 1000.0,
            elapsed: Duration::from_millis(1500),
            remaining: None,
        })
    }

    fn validated(step: u64, bleu: Option<f64>) -> Event {
        let scores = bleu.map(|bleu| Scores {
            bleu,
            chrf: 30.0,
            bleu_signature: "b".into(),
            chrf_signature: "c".into(),
        });
        let sample = Sample { src: "a".into(), reference: "b".into(), translation: "c".into() };
        let (src, tgt) = (vec!["a".into()], vec!["b".into()]);
        let watched = Watched { step, line: 1, src, tgt, views: Vec::new() };
        Event::Validated(Validated {
            step,
            epoch: 1,
            loss: 4.0,
            scores,
            best: true,
            since_best: 0,
            best_dir: "best".into(),
            samples: vec![sample],
            watched: vec![watched],
            elapsed: Duration::from_millis(2500),
        })
    }

    fn read(run: &Path, name: &str) -> Vec<u8> {
        fs::read(run.join(name)).unwrap()
    }

    #[test]
    fn every_column_has_a_value_or_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = Logs::open(dir.path(), &Lengths::new()).unwrap();
        for event in [report(10), validated(10, Some(12.5)), validated(20, None), report(20)] {
            logs.record(&event).unwrap();
        }
        let csv = String::from_utf8(read(dir.path(), METRICS)).unwrap();
        let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
        assert_eq!(rows[1][..4], ["10", "1", "train", "4.4"]);
        assert_eq!((rows[0][9], rows[1][9]), ("alignment_nats_per_guided_token", ""));
        assert_eq!((rows[4][0], rows[4][9]), ("20", "1.5"));
        assert_eq!(rows[2][7..9], ["12.5", "30"]);
        assert_eq!(rows[3][7..9], ["", ""]);
        let samples = String::from_utf8(read(dir.path(), SAMPLES)).unwrap();
        assert!(samples.starts_with("step 10  source       a\nstep 10  reference    b\n"));
        let watched = watch::read(dir.path()).unwrap();
        assert_eq!(watched.iter().map(|watched| watched.step).collect::<Vec<_>>(), [10, 20]);
    }

    #[test]
    fn a_resumed_record_equals_an_uninterrupted_one() {
        let (whole, resumed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut logs = Logs::open(whole.path(), &Lengths::new()).unwrap();
        for event in [report(10), validated(10, Some(1.0)), report(20), report(30)] {
            logs.record(&event).unwrap();
        }
        let mut logs = Logs::open(resumed.path(), &Lengths::new()).unwrap();
        logs.record(&report(10)).unwrap();
        logs.record(&validated(10, Some(1.0))).unwrap();
        let lengths = logs.lengths().unwrap();
        logs.record(&report(20)).unwrap(); // after the checkpoint: lost, and made again
        drop(logs);
        let mut logs = Logs::open(resumed.path(), &lengths).unwrap();
        logs.record(&report(20)).unwrap();
        logs.record(&report(30)).unwrap();
        for name in [LINES, METRICS, SAMPLES, watch::FILE] {
            assert_eq!(read(whole.path(), name), read(resumed.path(), name), "{name}");
        }
        // Events carry the time of day, but have the same size.
        assert_eq!(read(whole.path(), SCALARS).len(), read(resumed.path(), SCALARS).len());
    }

    #[test]
    fn a_record_that_was_removed_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = Logs::open(dir.path(), &Lengths::new()).unwrap();
        logs.record(&report(10)).unwrap();
        let lengths = logs.lengths().unwrap();
        fs::remove_file(dir.path().join(LINES)).unwrap();
        let mut logs = Logs::open(dir.path(), &lengths).unwrap();
        logs.record(&report(20)).unwrap();
        let lines = String::from_utf8(read(dir.path(), LINES)).unwrap();
        assert_eq!(
            lines,
            format!(
                "{COLUMNS}\n{}\n",
                match report(20) {
                    Event::Report(report) => report,
                    _ => unreachable!(),
                }
            )
        );
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tensorboard"), "in the way").unwrap();
        let error = Logs::open(dir.path(), &Lengths::new()).unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.ends_with("tensorboard"), "{error}");
    }
}
