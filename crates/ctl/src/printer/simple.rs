//! Lines for people and shell scripts.

use quoin_api::etcdserverpb as pb;
use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::mvccpb::KeyValue;

use super::{Output, Printer};
use crate::command::endpoint::Health;
use crate::exit::Exit;
use crate::text;

fn pair(printer: &Printer, output: Output<'_>, pair: &KeyValue) -> Result<(), Exit> {
    let mut bytes_line = |bytes: &[u8]| {
        if printer.hex {
            output.write_all(text::hex_escape(bytes).as_bytes())?;
        } else {
            output.write_all(bytes)?;
        }
        output.write_all(b"\n")
    };
    if !printer.value_only {
        bytes_line(&pair.key)?;
    }
    Ok(bytes_line(&pair.value)?)
}

pub(super) fn get(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::RangeResponse,
) -> Result<(), Exit> {
    r.kvs.iter().try_for_each(|kv| pair(printer, output, kv))
}

pub(super) fn put(printer: &Printer, output: Output<'_>, r: &pb::PutResponse) -> Result<(), Exit> {
    output.write_all(b"OK\n")?;
    r.prev_kv.iter().try_for_each(|kv| pair(printer, output, kv))
}

pub(super) fn del(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::DeleteRangeResponse,
) -> Result<(), Exit> {
    writeln!(output, "{}", r.deleted)?;
    r.prev_kvs.iter().try_for_each(|kv| pair(printer, output, kv))
}

pub(super) fn txn(printer: &Printer, output: Output<'_>, r: &pb::TxnResponse) -> Result<(), Exit> {
    output.write_all(if r.succeeded { b"SUCCESS\n" } else { b"FAILURE\n" })?;
    for op in &r.responses {
        output.write_all(b"\n")?;
        match &op.response {
            Some(Response::ResponseRange(response)) => get(printer, output, response)?,
            Some(Response::ResponsePut(response)) => put(printer, output, response)?,
            Some(Response::ResponseDeleteRange(response)) => del(printer, output, response)?,
            // The language of transactions has nothing that is answered in this way.
            Some(Response::ResponseTxn(_)) | None => writeln!(output, "unexpected response")?,
        }
    }
    Ok(())
}

/// Healthy servers go to the output, others to standard error.
pub(super) fn health(output: Output<'_>, list: &[Health]) -> Result<(), Exit> {
    for Health { endpoint, took, error, .. } in list {
        if error.is_empty() {
            let what = "is healthy: successfully committed proposal: took =";
            writeln!(output, "{endpoint} {what} {took}")?;
        } else {
            let what = "is unhealthy: failed to commit proposal:";
            crate::output::complain(&format!("{endpoint} {what} {error}\n"));
        }
    }
    Ok(())
}

/// One line for each row, the cells separated by commas.
pub(super) fn rows(output: Output<'_>, rows: &[Vec<String>]) -> Result<(), Exit> {
    for row in rows {
        writeln!(output, "{}", row.join(", "))?;
    }
    Ok(())
}
