// Command stream-client speaks to a kubelet's exec, attach and port-forward endpoints with the client library that
// kubectl uses, so that the streaming tests have a client that is not of our making.
//
//	stream-client TRANSPORT stream URL              exec or attach: its own stdin, stdout and stderr as the URL's query asks
//	stream-client TRANSPORT port-forward URL PORT   prints "Forwarding from ADDRESS:PORT ..."; ends when its stdin does
//
// TRANSPORT is spdy or websocket. The exit status is the command's; 125 when the stream itself failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

const streamFailed = 125

type connection struct {
	config    *rest.Config
	target    *url.URL
	websocket bool
}

func main() {
	if len(os.Args) < 4 {
		fail(errors.New("usage: stream-client spdy|websocket stream|port-forward URL [PORT]"))
	}
	target, err := url.Parse(os.Args[3])
	if err != nil {
		fail(err)
	}
	// The kubelet's certificate is one that it made for itself.
	config := &rest.Config{Host: target.Host, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	to := connection{config, target, os.Args[1] == "websocket"}
	if os.Args[2] == "port-forward" {
		err = to.forward(os.Args[4:])
	} else {
		err = to.stream()
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
	fmt.Fprintln(os.Stderr, "stream-client:", err)
	os.Exit(streamFailed)
}

func (to connection) executor() (remotecommand.Executor, error) {
	if to.websocket {
		return remotecommand.NewWebSocketExecutor(to.config, http.MethodGet, to.target.String())
	}
	return remotecommand.NewSPDYExecutor(to.config, http.MethodPost, to.target)
}

func (to connection) stream() error {
	executor, err := to.executor()
	if err != nil {
		return err
	}
	query := to.target.Query()
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

func (to connection) dialer() (httpstream.Dialer, error) {
	if to.websocket {
		return portforward.NewSPDYOverWebsocketDialer(to.target, to.config)
	}
	transport, upgrader, err := spdy.RoundTripperFor(to.config)
	if err != nil {
		return nil, err
	}
	return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, to.target), nil
}

func (to connection) forward(ports []string) error {
	dialer, err := to.dialer()
	if err != nil {
		return err
	}
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
