"""ministack, made to behave as AWS does where a test shows that it does not. Run by the Python of its own environment."""

from ministack.core import iam_actions
from ministack.app import main

# Amazon S3 condition keys of PutObjectAcl (Service Authorization Reference): ministack gives them to PutObject alone.
ACL_HEADERS = (
    "x-amz-acl",
    "x-amz-grant-read",
    "x-amz-grant-write",
    "x-amz-grant-read-acp",
    "x-amz-grant-write-acp",
    "x-amz-grant-full-control",
)

its_own = iam_actions.s3_service_context


def s3_service_context(iam_action, query_params, path="", headers=None):
    context = its_own(iam_action, query_params, path, headers)
    if iam_action == "s3:PutObjectAcl":
        sent = headers or {}
        context = {**context, **{f"s3:{name}": sent[name] for name in ACL_HEADERS if sent.get(name)}}
    return context


iam_actions.s3_service_context = s3_service_context

if __name__ == "__main__":
    main()
