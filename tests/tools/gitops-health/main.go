// What GitOps tools make of a state of a Kubernetes object, by the libraries that they use themselves.
//
// It reads objects from standard input, one JSON document after the other, and prints for each one a line: what Flux and Helm
// see in it (kstatus), and what Argo CD sees with a health.lua (gopher-lua).
//
// usage: gitops-health <health.lua>
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The time that Argo CD gives a script.
const deadline = time.Second

type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type line struct {
	Kstatus health `json:"kstatus"`
	Argo    health `json:"argo"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("usage: gitops-health <health.lua>, with objects on standard input")
	}
	script, err := os.ReadFile(arguments[0])
	if err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var raw json.RawMessage
		if err := in.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return err
		}
		seen, err := look(object, string(script))
		if err != nil {
			return err
		}
		if err := out.Encode(seen); err != nil {
			return err
		}
	}
}

func look(object *unstructured.Unstructured, script string) (line, error) {
	computed, err := status.Compute(object)
	if err != nil {
		return line{}, fmt.Errorf("kstatus: %w", err)
	}
	argo, err := argoHealth(object, script)
	if err != nil {
		return line{}, fmt.Errorf("Argo CD: %w", err)
	}
	return line{Kstatus: health{computed.Status.String(), computed.Message}, Argo: argo}, nil
}

// As Argo CD does it: an object that is being deleted is not asked about, and a script gets no libraries but these.
func argoHealth(object *unstructured.Unstructured, script string) (health, error) {
	if object.GetDeletionTimestamp() != nil {
		return health{"Progressing", "Pending deletion"}, nil
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, library := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage,
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(library), Protect: true}, lua.LString(name)); err != nil {
			return health{}, err
		}
	}
	limited, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	state.SetContext(limited)
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(script); err != nil {
		return health{}, err
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return health{}, fmt.Errorf("the script returned a %s and not a table", state.Get(-1).Type())
	}
	seen := health{text(answer, "status"), text(answer, "message")}
	switch seen.Status {
	case "Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown":
		return seen, nil
	default:
		return health{}, fmt.Errorf("the script returned the status %q, which Argo CD does not know", seen.Status)
	}
}

func text(table *lua.LTable, field string) string {
	return lua.LVAsString(table.RawGetString(field))
}

// JSON as a value of Lua.
func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case string:
		return lua.LString(from)
	case int64:
		return lua.LNumber(from)
	case float64:
		return lua.LNumber(from)
	case []any:
		table := state.NewTable()
		for _, item := range from {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, item := range from {
			table.RawSetString(key, value(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
