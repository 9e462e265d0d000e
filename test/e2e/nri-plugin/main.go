// A plugin that does as it is told: it prints each call that it gets as a line of JSON, and answers it as the script says.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// answer is what the script says of one kind of call. All of it may be left out.
type answer struct {
	// Only for containers (or pods) of this name.
	For    string            `json:"for"`
	Error  string            `json:"error"`
	Hang   bool              `json:"hang"`
	Exit   bool              `json:"exit"`
	Reject string            `json:"reject"`
	Adjust json.RawMessage   `json:"adjust"`
	Update []json.RawMessage `json:"update"`
}

type plugin struct {
	script map[string]answer
	out    sync.Mutex
}

type line struct {
	Event      string            `json:"event"`
	Pod        json.RawMessage   `json:"pod,omitempty"`
	Container  json.RawMessage   `json:"container,omitempty"`
	Resources  json.RawMessage   `json:"resources,omitempty"`
	Config     string            `json:"config,omitempty"`
	Pods       []string          `json:"pods,omitempty"`
	Containers []json.RawMessage `json:"containers,omitempty"`
	Failed     []string          `json:"failed,omitempty"`
	Error      string            `json:"error,omitempty"`
}

func (p *plugin) say(l line) {
	text, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	p.out.Lock()
	defer p.out.Unlock()
	fmt.Println(string(text))
}

func wire(m proto.Message) json.RawMessage {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		panic(err)
	}
	return text
}

func unwire(text json.RawMessage, m proto.Message) {
	if err := protojson.Unmarshal(text, m); err != nil {
		panic(err)
	}
}

// act does what the script says of a call, and gives its answer; nil when it says nothing.
func (p *plugin) act(event, name string) (*answer, error) {
	a, ok := p.script[event]
	if !ok || (a.For != "" && a.For != name) {
		return nil, nil
	}
	switch {
	case a.Exit:
		os.Exit(3)
	case a.Hang:
		select {}
	case a.Error != "":
		return nil, errors.New(a.Error)
	}
	return &a, nil
}

func updates(a *answer) []*api.ContainerUpdate {
	if a == nil {
		return nil
	}
	var list []*api.ContainerUpdate
	for _, text := range a.Update {
		u := &api.ContainerUpdate{}
		unwire(text, u)
		list = append(list, u)
	}
	return list
}

func (p *plugin) pod(event string, pod *api.PodSandbox) error {
	p.say(line{Event: event, Pod: wire(pod)})
	_, err := p.act(event, pod.GetName())
	return err
}

func (p *plugin) container(event string, pod *api.PodSandbox, c *api.Container) (*answer, error) {
	p.say(line{Event: event, Pod: wire(pod), Container: wire(c)})
	return p.act(event, c.GetName())
}

func (p *plugin) Configure(_ context.Context, config, runtime, version string) (stub.EventMask, error) {
	p.say(line{Event: "Configure", Config: config, Error: runtime + " " + version})
	_, err := p.act("Configure", "")
	return 0, err
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	l := line{Event: "Synchronize"}
	for _, pod := range pods {
		l.Pods = append(l.Pods, pod.GetId())
	}
	for _, c := range containers {
		l.Containers = append(l.Containers, wire(c))
	}
	p.say(l)
	a, err := p.act("Synchronize", "")
	return updates(a), err
}

func (p *plugin) Shutdown(_ context.Context) { p.say(line{Event: "Shutdown"}) }

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.pod("RunPodSandbox", pod)
}

func (p *plugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, _ *api.LinuxResources, r *api.LinuxResources) error {
	p.say(line{Event: "UpdatePodSandbox", Pod: wire(pod), Resources: wire(r)})
	_, err := p.act("UpdatePodSandbox", pod.GetName())
	return err
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.pod("PostUpdatePodSandbox", pod)
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.pod("StopPodSandbox", pod)
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.pod("RemovePodSandbox", pod)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	a, err := p.container("CreateContainer", pod, c)
	if err != nil || a == nil {
		return nil, nil, err
	}
	adjust := &api.ContainerAdjustment{}
	if a.Adjust != nil {
		unwire(a.Adjust, adjust)
	}
	return adjust, updates(a), nil
}

func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	_, err := p.container("PostCreateContainer", pod, c)
	return err
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	_, err := p.container("StartContainer", pod, c)
	return err
}

func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	_, err := p.container("PostStartContainer", pod, c)
	return err
}

func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container, r *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	p.say(line{Event: "UpdateContainer", Pod: wire(pod), Container: wire(c), Resources: wire(r)})
	a, err := p.act("UpdateContainer", c.GetName())
	list := updates(a)
	for _, u := range list {
		// The container itself has no name that a script could know before.
		if u.ContainerId == "" {
			u.ContainerId = c.GetId()
		}
	}
	return list, err
}

func (p *plugin) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	_, err := p.container("PostUpdateContainer", pod, c)
	return err
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) ([]*api.ContainerUpdate, error) {
	a, err := p.container("StopContainer", pod, c)
	return updates(a), err
}

func (p *plugin) RemoveContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	_, err := p.container("RemoveContainer", pod, c)
	return err
}

// validator is the same with a say in what others change: its own type, because the stub subscribes by methods.
type validator struct{ *plugin }

func (v *validator) ValidateContainerAdjustment(_ context.Context, r *api.ValidateContainerAdjustmentRequest) error {
	v.say(line{Event: "ValidateContainerAdjustment", Container: wire(r.GetContainer()), Resources: wire(r.GetOwners())})
	a, err := v.act("ValidateContainerAdjustment", r.GetContainer().GetName())
	if err == nil && a != nil && a.Reject != "" {
		err = errors.New(a.Reject)
	}
	return err
}

// obey carries out commands from standard input: "update [JSON]", a list of updates.
func (p *plugin) obey(s stub.Stub) {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		text, ok := strings.CutPrefix(in.Text(), "update ")
		if !ok {
			continue
		}
		var a answer
		if err := json.Unmarshal([]byte(text), &a.Update); err != nil {
			panic(err)
		}
		failed, err := s.UpdateContainers(updates(&a))
		l := line{Event: "updated"}
		for _, u := range failed {
			l.Failed = append(l.Failed, u.GetContainerId())
		}
		if err != nil {
			l.Error = err.Error()
		}
		p.say(l)
	}
}

func run() error {
	index := flag.String("idx", "", "index")
	name := flag.String("name", "", "name")
	socket := flag.String("socket", "", "the engine's socket")
	script := flag.String("script", os.Getenv("SCRIPT"), "what to answer, as JSON by call")
	validates := flag.Bool("validate", false, "take part in validation")
	flag.Parse()
	p := &plugin{script: map[string]answer{}}
	if *script != "" {
		if err := json.Unmarshal([]byte(*script), &p.script); err != nil {
			return err
		}
	}
	var options []stub.Option
	if *index != "" {
		options = append(options, stub.WithPluginIdx(*index), stub.WithPluginName(*name))
	}
	if *socket != "" {
		options = append(options, stub.WithSocketPath(*socket))
	}
	var self any = p
	if *validates {
		self = &validator{p}
	}
	s, err := stub.New(self, options...)
	if err != nil {
		return err
	}
	if os.Getenv("NRI_PLUGIN_SOCKET") == "" {
		go p.obey(s)
	}
	return s.Run(context.Background())
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
