//! Golden scripts of the lessor, and a comparison with a list that is searched from end to end.
//!
//! Each file in `scripts/` is a sequence of blocks: comments, commands, a line `---`, and the
//! expected output, with an empty line between blocks. A tick has 100 ms, the shortest time to
//! live is 2 s. Set `UPDATE_SCRIPTS=1` to write the output that the lessor gives now, and read the
//! difference.
//!
//! Commands:
//!
//! ```text
//! lead EXTENSION [ID=TTL[:LEFT]]...   become the leader over these leases, ticks of extension
//! grant ID TTL      revoke ID         renew ID      time ID       list
//! wait TICKS        due               end ID        refuse ID
//! checkpoints [LIMIT]                 take and propose them, as the next entry
//! apply ID=LEFT INDEX                 an entry with a checkpoint is applied
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use super::{Clock, Grant, Lessor, Renewal};

fn clock() -> Clock {
    Clock::new(100, 2, 100)
}

#[test]
fn scripts() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let entries = fs::read_dir(&dir).expect("the scripts are part of the crate");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it is listed").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let script = fs::read_to_string(&path).expect("a script is text");
        let output = run_script(&script);
        if env::var_os("UPDATE_SCRIPTS").is_some() {
            fs::write(&path, output).expect("the script can be written");
        } else {
            assert_eq!(output, script, "{}: set UPDATE_SCRIPTS=1 to accept", path.display());
        }
    }
}

fn run_script(script: &str) -> String {
    let lessor = Lessor::promoted(clock(), 0, 0, std::iter::empty());
    let mut runner = Runner { lessor, now: 0, index: 0 };
    let run_block = |block: &str| {
        let input = block.split("\n---").next().expect("a split has a first part").to_owned();
        let mut output = String::new();
        for command in input.lines().filter(|line| !line.starts_with('#')) {
            writeln!(output, "{}", runner.run(command)).expect("a string takes all");
        }
        format!("{input}\n---\n{}", output.trim_end())
    };
    let blocks: Vec<String> = script.trim_end().split("\n\n").map(run_block).collect();
    blocks.join("\n\n") + "\n"
}

struct Runner {
    lessor: Lessor,
    now: u64,
    /// The last entry of the log.
    index: u64,
}

impl Runner {
    fn run(&mut self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        let now = self.now;
        match words[..] {
            ["lead", extension, ref leases @ ..] => {
                let grants: Vec<Grant> = leases.iter().map(|lease| grant(lease)).collect();
                let extension = number(extension).unsigned_abs();
                self.lessor = Lessor::promoted(clock(), now, extension, grants.into_iter());
                "ok".to_owned()
            }
            ["grant", id, ttl] => {
                self.lessor.granted(number(id), number(ttl), now);
                "ok".to_owned()
            }
            ["revoke", id] => {
                self.lessor.revoked(number(id));
                "ok".to_owned()
            }
            ["renew", id] => match self.lessor.renew(number(id), now) {
                Renewal::Done(ttl_s) => format!("ttl={ttl_s}"),
                Renewal::MustClear => "must clear".to_owned(),
                Renewal::Expired => "expired".to_owned(),
                Renewal::Unknown => "unknown".to_owned(),
            },
            ["time", id] => self.lessor.time(number(id), now).map_or_else(
                || "unknown".to_owned(),
                |time| format!("{} of {}", time.left_s, time.granted_s),
            ),
            ["list"] => format!("{:?}", self.lessor.by_deadline()),
            ["wait", ticks] => {
                self.now += number(ticks).unsigned_abs();
                format!("tick {}", self.now)
            }
            ["due"] => format!("{:?}", self.lessor.expired(now).collect::<Vec<_>>()),
            ["end", id] => {
                self.lessor.ending(number(id));
                "ok".to_owned()
            }
            ["refuse", id] => {
                self.lessor.refused(number(id), now);
                "ok".to_owned()
            }
            ["checkpoints"] => self.checkpoints(usize::MAX),
            ["checkpoints", limit] => {
                self.checkpoints(usize::try_from(number(limit)).expect("a limit is not negative"))
            }
            ["apply", checkpoint, index] => {
                let (id, left) = checkpoint.split_once('=').expect("ID=LEFT");
                let index = number(index).unsigned_abs();
                self.lessor.checkpointed(number(id), number(left), index, now);
                "ok".to_owned()
            }
            _ => panic!("unknown command: {command}"),
        }
    }

    fn checkpoints(&mut self, limit: usize) -> String {
        if !self.lessor.wants_checkpoint(self.now) {
            return "none wanted".to_owned();
        }
        let taken = self.lessor.take_checkpoints(self.now, limit);
        if taken.is_empty() {
            return "none".to_owned();
        }
        self.index += 1;
        self.lessor.checkpoint_proposed(&taken, self.index);
        let list: Vec<String> = taken.iter().map(|(id, left)| format!("{id}={left}")).collect();
        format!("entry {}: {}", self.index, list.join(" "))
    }
}

fn grant(text: &str) -> Grant {
    let (id, time) = text.split_once('=').expect("ID=TTL");
    let (ttl, left) = time.split_once(':').unwrap_or((time, "0"));
    Grant { id: number(id), ttl_s: number(ttl), left_s: number(left) }
}

fn number(text: &str) -> i64 {
    text.parse().expect("a number")
}

/// Numbers that follow from a seed (xorshift).
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The same rules over a list: when each lease was last given its time, and for how long.
#[derive(Default)]
struct Model {
    leases: BTreeMap<i64, (u64, i64)>,
    ending: BTreeMap<i64, ()>,
}

impl Model {
    /// The leases that may be due: their time has passed.
    fn over(&self, now: u64) -> Vec<i64> {
        let over = self.leases.iter().filter(|(id, (from, ttl_s))| {
            let ticks = u64::try_from(*ttl_s).expect("it is positive") * 10;
            from + ticks <= now && !self.ending.contains_key(id)
        });
        over.map(|(id, _)| *id).collect()
    }

    /// The leases that must be due: their time has passed, and the grace as well.
    fn certainly_over(&self, now: u64) -> Vec<i64> {
        self.over(now.saturating_sub(2))
    }
}

#[test]
fn no_lease_is_due_early_and_every_lease_is_due() {
    for seed in 1..=200 {
        let mut draw = Draw(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut lessor = Lessor::promoted(clock(), 0, 0, std::iter::empty());
        let mut model = Model::default();
        let mut now = 0;
        for _ in 0..400 {
            let id = i64::try_from(draw.below(20)).expect("it is small");
            match draw.below(10) {
                0..3 => {
                    let ttl_s = i64::try_from(2 + draw.below(90)).expect("it is small");
                    if let Entry::Vacant(free) = model.leases.entry(id) {
                        lessor.granted(id, ttl_s, now);
                        free.insert((now, ttl_s));
                    }
                }
                3..5 => {
                    let renewal = lessor.renew(id, now);
                    let is_over = model.certainly_over(now).contains(&id);
                    let is_known = model.leases.contains_key(&id);
                    let ending = model.ending.contains_key(&id);
                    match renewal {
                        Renewal::Unknown => assert!(!is_known, "seed {seed}"),
                        Renewal::Expired => {
                            assert!(ending || model.over(now).contains(&id), "seed {seed}");
                        }
                        Renewal::Done(_) | Renewal::MustClear => {
                            assert!(is_known && !ending && !is_over, "seed {seed}");
                            model.leases.entry(id).and_modify(|lease| lease.0 = now);
                        }
                    }
                }
                5 => {
                    lessor.revoked(id);
                    model.leases.remove(&id);
                    model.ending.remove(&id);
                }
                6 => {
                    let first = lessor.expired(now).next();
                    if let Some(id) = first {
                        lessor.ending(id);
                        model.ending.insert(id, ());
                    }
                }
                7 => {
                    for (id, left_s) in lessor.take_checkpoints(now, 4) {
                        let (from, ttl_s) = model.leases[&id];
                        let passed_s = i64::try_from((now - from) / 10).expect("it is small");
                        assert!(left_s == 0 || left_s >= ttl_s - passed_s, "seed {seed}");
                    }
                }
                _ => now += draw.below(60),
            }
            let mut due: Vec<i64> = lessor.expired(now).collect();
            due.sort_unstable();
            let possible = model.over(now);
            assert!(due.iter().all(|id| possible.contains(id)), "seed {seed}: {due:?} is early");
            let certain = model.certainly_over(now);
            assert!(certain.iter().all(|id| due.contains(id)), "seed {seed}: {due:?} misses one");
            assert_eq!(lessor.by_deadline().len(), model.leases.len(), "seed {seed}");
        }
    }
}

#[test]
fn the_longest_time_to_live_does_not_overflow() {
    let mut lessor = Lessor::promoted(clock(), 0, 0, std::iter::empty());
    lessor.granted(1, 9_000_000_000, u64::MAX / 2);
    lessor.granted(2, i64::MAX, u64::MAX - 5);
    lessor.granted(3, i64::MIN, u64::MAX - 5);
    assert_eq!(lessor.expired(u64::MAX - 1).collect::<Vec<_>>(), [1, 2, 3]);
    let left = lessor.time(1, u64::MAX / 2).map(|time| time.left_s);
    assert_eq!(left, Some(8_999_999_999));
}
