//! The store's receiving end.

use std::pin::Pin;
use std::sync::Arc;

use countersign_model::TenantId;
use countersign_services::Records;
use countersign_store::SealedRow;
use futures_util::Stream;
use futures_util::stream;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::admission::{Accepted, Admission, caller};
use crate::convert::records::{batch_in, once_out, rejected_out, row_out, scan_in, state_out, states_in, thirty_two};
use crate::convert::{sixteen, type_id};
use crate::failure::{CallRefused, Failed};
use crate::pb::records_server::Records as RecordsWire;
use crate::{deadline, pb, received};

/// About how many bytes of cells go into one chunk.
const CHUNK_BYTES: usize = 128 * 1024;

pub(crate) struct RecordsEnd {
    pub(crate) records: Arc<dyn Records>,
    pub(crate) admission: Arc<Admission>,
}

#[tonic::async_trait]
impl RecordsWire for RecordsEnd {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<pb::RowChunk, Status>> + Send>>;

    async fn read(&self, request: Request<pb::ReadRecordsRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let scan = self.admission.understood(&caller, &accepted, scan_in(message.scan)).await?;
        let call = accepted.call();
        let read = self.records.read(&call, &scan);
        let rows = received::answering(&accepted.request, accepted.raw.clone(), read).await.map_err(Failed::from)?;
        Ok(Response::new(stream_of(chunks(rows), deadline::current())))
    }

    type HistoryStream = Self::ReadStream;

    async fn history(&self, request: Request<pb::HistoryRequest>) -> Result<Response<Self::HistoryStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let scan = states_in(message.scan, message.after_version);
        let scan = self.admission.understood(&caller, &accepted, scan).await?;
        let call = accepted.call();
        let read = self.records.history(&call, &scan);
        let states = received::answering(&accepted.request, accepted.raw.clone(), read).await.map_err(Failed::from)?;
        Ok(Response::new(stream_of(chunks_of(states.into_iter().map(state_out)), deadline::current())))
    }

    async fn write(
        &self,
        request: Request<pb::WriteRecordsRequest>,
    ) -> Result<Response<pb::WriteRecordsReply>, Status> {
        let (_, extensions, mut message) = request.into_parts();
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call.take()).await?;
        let batch = self.admission.understood(&caller, &accepted, batch_in(message)).await?;
        let records = Arc::clone(&self.records);
        let until = deadline::current();
        // A task of its own: a write that has begun goes on to its end, whether its caller waits or not.
        let written = tokio::spawn(deadline::within(until, async move {
            let Accepted { raw, .. } = &accepted;
            received::answering(&accepted.request, raw.clone(), records.write(&accepted.call(), batch)).await
        }));
        let outcome = written.await.map_err(|_| Failed::Unknown)?.map_err(Failed::from)?;
        Ok(Response::new(pb::WriteRecordsReply { rejected: outcome.err().map(rejected_out) }))
    }

    async fn done(&self, request: Request<pb::DoneRequest>) -> Result<Response<pb::DoneReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let key = self.admission.understood(&caller, &accepted, thirty_two(&message.key)).await?;
        let done = self.records.done(&accepted.call(), key).await.map_err(Failed::from)?;
        Ok(Response::new(pb::DoneReply { once: done.map(|done| once_out(&key, done)) }))
    }

    async fn create_tenant(&self, request: Request<pb::CreateTenantRequest>) -> Result<Response<pb::Empty>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let tenant = self.admission.understood(&caller, &accepted, sixteen(&message.tenant)).await?;
        let tenant = TenantId::from_bytes(tenant);
        self.records.create_tenant(&accepted.call(), tenant).await.map_err(Failed::from)?;
        Ok(Response::new(pb::Empty {}))
    }

    async fn any_records(
        &self,
        request: Request<pb::AnyRecordsRequest>,
    ) -> Result<Response<pb::AnyRecordsReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let record_type = self.admission.understood(&caller, &accepted, type_id(message.record_type)).await?;
        let any = self.records.any_records(&accepted.call(), record_type).await.map_err(Failed::from)?;
        Ok(Response::new(pb::AnyRecordsReply { any }))
    }
}

/// Encodes rows as the caller takes them, and no longer than it waits.
fn stream_of(
    chunks: impl Iterator<Item = pb::RowChunk> + Send + 'static,
    until: Instant,
) -> Pin<Box<dyn Stream<Item = Result<pb::RowChunk, Status>> + Send>> {
    let late = || Failed::Call(CallRefused::Late).to_status();
    let chunks = chunks.map(move |chunk| if Instant::now() > until { Err(late()) } else { Ok(chunk) });
    Box::pin(stream::iter(chunks))
}

/// Rows in chunks of a good size, each made when it is asked for.
pub(crate) fn chunks(rows: Vec<SealedRow>) -> impl Iterator<Item = pb::RowChunk> + Send {
    chunks_of(rows.into_iter().map(row_out))
}

fn chunks_of(mut rows: impl Iterator<Item = pb::SealedRow> + Send) -> impl Iterator<Item = pb::RowChunk> + Send {
    std::iter::from_fn(move || {
        let mut chunk = Vec::new();
        let mut bytes = 0usize;
        while bytes < CHUNK_BYTES {
            let Some(row) = rows.next() else { break };
            let cells = row.cells.iter().filter_map(|cell| cell.sealed.as_ref());
            bytes = cells.fold(bytes.saturating_add(32), |all, cell| all.saturating_add(cell.len()));
            chunk.push(row);
        }
        (!chunk.is_empty()).then_some(pb::RowChunk { rows: chunk })
    })
}
