// Command spdy-client speaks SPDY/3.1 to a kubelet's exec, attach and port-forward endpoints with the client library
// that kubectl uses, so that the streaming tests have a client that is not of our making.
//
//	spdy-client stream URL              exec or attach: its own stdin, stdout and stderr as the URL's query asks for
//	spdy-client port-forward URL PORT   prints "Forwarding from ADDRESS:PORT ..."; ends when its stdin does
//
// The exit status is the command's; 125 when the stream itself failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

const streamFailed = 125

func main() {
	if len(os.Args) < 3 {
		fail(errors.New("usage: spdy-client stream URL | port-forward URL PORT"))
	}
	target, err := url.Parse(os.Args[2])
	if err != nil {
		fail(err)
	}
	// The kubelet's certificate is one that it made for itself.
	config := &rest.Config{Host: target.Host, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	if os.Args[1] == "port-forward" {
		err = forward(config, target, os.Args[3:])
	} else {
		err = stream(config, target)
	}
	var exit exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		os.Exit(exit.ExitStatus())
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "spdy-client:", err)
	os.Exit(streamFailed)
}

func stream(config *rest.Config, target *url.URL) error {
	executor, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, target)
	if err != nil {
		return err
	}
	query := target.Query()
	options := remotecommand.StreamOptions{Tty: query.Has("tty")}
	if query.Has("input") {
		options.Stdin = os.Stdin
	}
	if query.Has("output") {
		options.Stdout = os.Stdout
	}
	if query.Has("error") {
		options.Stderr = os.Stderr
	}
	if options.Tty {
		options.TerminalSizeQueue = &oneSize{}
	}
	return executor.StreamWithContext(context.Background(), options)
}

// oneSize says once how large the terminal is: 132 columns, 43 rows.
type oneSize struct{ said bool }

func (s *oneSize) Next() *remotecommand.TerminalSize {
	if s.said {
		return nil
	}
	s.said = true
	return &remotecommand.TerminalSize{Width: 132, Height: 43}
}

func forward(config *rest.Config, target *url.URL, ports []string) error {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return err
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	addresses := []string{"127.0.0.1"}
	forwarder, err := portforward.NewOnAddresses(dialer, addresses, ports, stop, make(chan struct{}), os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	return forwarder.ForwardPorts()
}
