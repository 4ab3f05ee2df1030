//! Judges that know nothing of how the operator writes its policies: a specification in the language of folders, an
//! independent simulator of IAM, and two stand-ins for AWS. None of them needs Kubernetes.

mod can;
mod cases;
mod golden;
mod limits;
mod live;
mod meaning;
mod mutate;
mod operator;
mod promise;
mod request;
mod send;
mod simulate;
mod subject;
