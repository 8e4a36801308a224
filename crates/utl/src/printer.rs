//! How results are shown, byte for byte as etcdutl 3.7.1 does.

use std::io::Write;

use quoin_cli::exit::Exit;
use quoin_cli::flags::Values;
use quoin_cli::text::{json_string, size};
use quoin_cli::{output, table};

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Checksum over all rows of all buckets.
    pub(crate) hash: u32,
    pub(crate) revision: i64,
    /// Keys that are not deleted.
    pub(crate) total_keys: u64,
    /// Bytes of all pages, without the checksum behind them.
    pub(crate) total_bytes: u64,
    /// Storage version; empty before etcd 3.6.
    pub(crate) version: String,
}

/// The hash of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hash {
    pub(crate) hash: u32,
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
}

/// The forms of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Simple,
    Fields,
    Json,
    Table,
    /// Known, but no result has this form.
    Protobuf,
}

impl Format {
    pub(crate) fn read(flags: &Values) -> Result<Self, Exit> {
        match flags.text("write-out").as_str() {
            "simple" => Ok(Self::Simple),
            "fields" => Ok(Self::Fields),
            "json" => Ok(Self::Json),
            "table" => Ok(Self::Table),
            "protobuf" => Ok(Self::Protobuf),
            _ => Err(Exit::bad_feature("unsupported output format")),
        }
    }
}

const STATUS_COLUMNS: &[&str] = &["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"];
const HASH_COLUMNS: &[&str] = &["HASH", "HASH REVISION", "COMPACT REVISION"];

type Output<'a> = &'a mut dyn Write;

pub(crate) fn status(format: Format, status: &Status) -> Result<(), Exit> {
    output::with(|output| write_status(format, output, status))
}

fn write_status(format: Format, output: Output<'_>, status: &Status) -> Result<(), Exit> {
    let Status { hash, revision, total_keys, total_bytes, version } = status;
    let row = || {
        let (hash, bytes) = (format!("{hash:x}"), size(*total_bytes));
        vec![hash, revision.to_string(), total_keys.to_string(), bytes, version.clone()]
    };
    let written = match format {
        Format::Simple => writeln!(output, "{}", row().join(", ")),
        Format::Fields => writeln!(
            output,
            "\"Hash\" : {hash}\n\"Revision\" : {revision}\n\"Keys\" : {total_keys}\n\
             \"Size\" : {total_bytes}\n\"Version\" : {version}"
        ),
        Format::Json => writeln!(
            output,
            "{{\"hash\":{hash},\"revision\":{revision},\"totalKey\":{total_keys},\
             \"totalSize\":{total_bytes},\"version\":{}}}",
            json_string(version.as_bytes())
        ),
        Format::Table => table::draw(output, STATUS_COLUMNS, &[row()]),
        Format::Protobuf => return unsupported(),
    };
    Ok(written?)
}

pub(crate) fn hash(format: Format, hash: &Hash) -> Result<(), Exit> {
    output::with(|output| write_hash(format, output, hash))
}

fn write_hash(format: Format, output: Output<'_>, hash: &Hash) -> Result<(), Exit> {
    let Hash { hash, revision, compact_revision } = hash;
    let row = || vec![hash.to_string(), revision.to_string(), compact_revision.to_string()];
    let written = match format {
        Format::Simple => writeln!(output, "{}", row().join(", ")),
        Format::Fields => writeln!(
            output,
            "\"Hash\" : {hash}\n\"Hash revision\" : {revision}\n\
             \"Compact revision\" : {compact_revision}"
        ),
        Format::Json => writeln!(
            output,
            "{{\"hash\":{hash},\"hashRevision\":{revision},\
             \"compactRevision\":{compact_revision}}}"
        ),
        Format::Table => table::draw(output, HASH_COLUMNS, &[row()]),
        Format::Protobuf => return unsupported(),
    };
    Ok(written?)
}

fn unsupported() -> Result<(), Exit> {
    Err(Exit::bad_feature("protobuf not supported as output format"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format; 5] =
        [Format::Simple, Format::Fields, Format::Json, Format::Table, Format::Protobuf];

    #[track_caller]
    fn check(write: impl Fn(Format, Output<'_>) -> Result<(), Exit>, expected: [&str; 4]) {
        let expected = expected.map(|text| Ok(text.to_owned()));
        let refused = Exit::bad_feature("protobuf not supported as output format");
        for (format, expected) in
            FORMATS.into_iter().zip(expected.into_iter().chain([Err(refused)]))
        {
            let mut output = Vec::new();
            let written = write(format, &mut output);
            let found = written.map(|()| String::from_utf8(output).unwrap());
            assert_eq!(found, expected, "{format:?}");
        }
    }

    #[test]
    fn results_in_every_form() {
        let status = Status {
            hash: 0x2078_023b,
            revision: 9,
            total_keys: 1,
            total_bytes: 20480,
            version: "3.7.0".to_owned(),
        };
        let expected = [
            "2078023b, 9, 1, 20 kB, 3.7.0\n",
            "\"Hash\" : 544735803\n\"Revision\" : 9\n\"Keys\" : 1\n\"Size\" : 20480\n\
             \"Version\" : 3.7.0\n",
            "{\"hash\":544735803,\"revision\":9,\"totalKey\":1,\"totalSize\":20480,\
             \"version\":\"3.7.0\"}\n",
        ];
        let mut drawn = Vec::new();
        let row = ["2078023b", "9", "1", "20 kB", "3.7.0"].map(str::to_owned).to_vec();
        table::draw(&mut drawn, STATUS_COLUMNS, &[row]).unwrap();
        let drawn = String::from_utf8(drawn).unwrap();
        let [simple, fields, json] = expected;
        check(
            |format, output| write_status(format, output, &status),
            [simple, fields, json, &drawn],
        );
        let hash = Hash { hash: 3509104538, revision: 9, compact_revision: -1 };
        let mut drawn = Vec::new();
        let row = ["3509104538", "9", "-1"].map(str::to_owned).to_vec();
        table::draw(&mut drawn, HASH_COLUMNS, &[row]).unwrap();
        check(
            |format, output| write_hash(format, output, &hash),
            [
                "3509104538, 9, -1\n",
                "\"Hash\" : 3509104538\n\"Hash revision\" : 9\n\"Compact revision\" : -1\n",
                "{\"hash\":3509104538,\"hashRevision\":9,\"compactRevision\":-1}\n",
                &String::from_utf8(drawn).unwrap(),
            ],
        );
    }
}
