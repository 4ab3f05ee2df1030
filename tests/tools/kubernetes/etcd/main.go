// etcd, the store of kube-apiserver. Its own command lives in a module that cannot be depended upon
// (it has replace lines); this is all that command does.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
