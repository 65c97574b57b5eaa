package check

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	inCode     = regexp.MustCompile("`(kubectl [^`]*)`")
	namespaced = regexp.MustCompile(`(?:-n|namespace) (\S+)`)
	reference  = regexp.MustCompile(`\b(deployment|statefulset|service)/(\S+)`)
	madeSecret = regexp.MustCompile(`create secret generic (\S+) --from-file=(\S+)`)
	labelled   = regexp.MustCompile(` -l (\S+)`)
	ourCommand = regexp.MustCompile(`(?:^|[ (/])ollama-proxy (mint|keys|secret|revoke|serve|inspect|restrict)\b([^|)]*)`)
	longFlag   = regexp.MustCompile(`--[a-z-]+`)
)

// testCommands holds the commands in the README against what they name.
func testCommands(t *testing.T, binary string, shipped manifests, variables []string) {
	c, _ := decode(shipped, variables)
	kindOf := map[string]string{"deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service"}
	var lines []string
	for _, block := range shellBlock.FindAllStringSubmatch(readText(t, readme), -1) {
		lines = append(lines, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	for _, code := range inCode.FindAllStringSubmatch(readText(t, readme), -1) {
		lines = append(lines, code[1])
	}
	secrets, ours := 0, 0
	for _, line := range lines {
		for _, match := range namespaced.FindAllStringSubmatch(line, -1) {
			if named[corev1.Namespace](c, match[1]) == nil {
				t.Errorf("%s\n\tthere is no namespace %s", line, match[1])
			}
		}
		for _, match := range reference.FindAllStringSubmatch(line, -1) {
			if !slices.ContainsFunc(c.objects, func(o metav1.Object) bool { return describe(o) == kindOf[match[1]]+"/"+match[2] }) {
				t.Errorf("%s\n\tthere is no %s", line, match[0])
			}
		}
		for _, match := range labelled.FindAllStringSubmatch(line, -1) {
			key, value, _ := strings.Cut(match[1], "=")
			if w, ok := c.proxy(); !ok || w.template.Labels[key] != value {
				t.Errorf("%s\n\tpods of the proxy have no label %s", line, match[1])
			}
		}
		for _, match := range madeSecret.FindAllStringSubmatch(line, -1) {
			secrets++
			if match[1] != secretName || match[2] != secretKey {
				t.Errorf("%s\n\tthe Deployment mounts %s of %s", line, secretKey, secretName)
			}
		}
		for _, match := range ourCommand.FindAllStringSubmatch(line, -1) {
			ours++
			help, err := exec.Command(binary, match[1], "--help").Output()
			if err != nil {
				t.Errorf("%s\n\t%s: %v", line, match[1], err)
			}
			for _, flag := range longFlag.FindAllString(match[2], -1) {
				if !regexp.MustCompile(flag + `\s`).Match(help) {
					t.Errorf("%s\n\t%s has no %s", line, match[1], flag)
				}
			}
		}
	}
	if secrets != 2 || ours < 5 {
		t.Errorf("found %d commands that make the Secret and %d of ours in:\n%s", secrets, ours, strings.Join(lines, "\n"))
	}
}
