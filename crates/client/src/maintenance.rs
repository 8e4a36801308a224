//! Calls that look after servers: alarms, state, hashes, defragmentation.
//!
//! Not here: snapshots, which are streams (see `snapshot`).

use quoin_api::etcdserverpb as pb;
use quoin_api::etcdserverpb::alarm_request::AlarmAction;

use crate::call::{Method, Repeat};
use crate::{Client, Error};

const ALARM: &str = "/etcdserverpb.Maintenance/Alarm";

impl Client {
    /// Lists the alarms of all members.
    pub async fn alarm_list(&self) -> Result<pb::AlarmResponse, Error> {
        let method = Method::new(ALARM, Repeat::IfUnavailable);
        let action = AlarmAction::Get.into();
        let request = pb::AlarmRequest { action, ..pb::AlarmRequest::default() };
        self.unary(&self.pool, method, request).await
    }

    /// Asks the member behind `endpoint` for its state.
    pub async fn status(&self, endpoint: &str) -> Result<pb::StatusResponse, Error> {
        let method = Method::new("/etcdserverpb.Maintenance/Status", Repeat::IfUnavailable);
        let pool = self.pool_of(endpoint)?;
        self.unary(&pool, method, pb::StatusRequest {}).await
    }

    /// Asks the member behind `endpoint` for the hash of its history up to `revision`, 0 for all.
    pub async fn hash_kv(
        &self,
        endpoint: &str,
        revision: i64,
    ) -> Result<pb::HashKvResponse, Error> {
        let method = Method::new("/etcdserverpb.Maintenance/HashKV", Repeat::IfUnavailable);
        let pool = self.pool_of(endpoint)?;
        self.unary(&pool, method, pb::HashKvRequest { revision }).await
    }

    /// Takes one alarm of one member back.
    pub async fn alarm_disarm(&self, alarm: pb::AlarmMember) -> Result<pb::AlarmResponse, Error> {
        let method = Method::new(ALARM, Repeat::IfUnavailable);
        let action = AlarmAction::Deactivate.into();
        let pb::AlarmMember { member_id, alarm } = alarm;
        self.unary(&self.pool, method, pb::AlarmRequest { action, member_id, alarm }).await
    }

    /// Asks the member behind `endpoint` to give unused space of its files back.
    pub async fn defragment(&self, endpoint: &str) -> Result<pb::DefragmentResponse, Error> {
        let method = Method::new("/etcdserverpb.Maintenance/Defragment", Repeat::IfRefused);
        let pool = self.pool_of(endpoint)?;
        self.unary(&pool, method, pb::DefragmentRequest {}).await
    }
}
