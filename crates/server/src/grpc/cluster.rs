//! The Cluster service: who the members are.

use quoin_api::etcdserverpb::cluster_server::Cluster;
use quoin_api::etcdserverpb::{
    self, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};
use quoin_store::View;
use tonic::{Request, Response};

use super::{Reply, Services, not_built};

#[tonic::async_trait]
impl Cluster for Services {
    async fn member_list(&self, request: Request<MemberListRequest>) -> Reply<MemberListResponse> {
        if request.into_inner().linearizable {
            self.member.linearize().await?;
        }
        let members = members(&self.member.view());
        Ok(Response::new(MemberListResponse { header: Some(self.member.header(0)), members }))
    }

    async fn member_add(&self, _: Request<MemberAddRequest>) -> Reply<MemberAddResponse> {
        not_built("MemberAdd")
    }

    async fn member_remove(&self, _: Request<MemberRemoveRequest>) -> Reply<MemberRemoveResponse> {
        not_built("MemberRemove")
    }

    async fn member_update(&self, _: Request<MemberUpdateRequest>) -> Reply<MemberUpdateResponse> {
        not_built("MemberUpdate")
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Reply<MemberPromoteResponse> {
        not_built("MemberPromote")
    }
}

/// Returns the members in ascending order of their IDs, as etcd lists them.
fn members(view: &View) -> Vec<etcdserverpb::Member> {
    let members = view.membership().members().map(|member| etcdserverpb::Member {
        id: member.id,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.is_learner,
    });
    members.collect()
}
