// What the manifests have to agree on.

package check

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// pods are all pods of a manifest, by what they belong to.
func pods(all objects) map[string]core.PodTemplateSpec {
	found := map[string]core.PodTemplateSpec{}
	for _, o := range all {
		switch o := o.(type) {
		case *apps.Deployment:
			found["Deployment "+o.Name] = o.Spec.Template
		case *apps.StatefulSet:
			found["StatefulSet "+o.Name] = o.Spec.Template
		case *batch.Job:
			found["Job "+o.Name] = o.Spec.Template
		}
	}
	return found
}

// Every pod keeps to the restricted pod security standard, and names what it runs exactly.
func TestPodsAreRestricted(t *testing.T) {
	for _, folder := range folders {
		all := built(t, folder)
		if folder == folders[0] {
			all = append(all, examples(t)...)
		}
		for name, pod := range pods(all) {
			where, s := folder+": "+name, pod.Spec
			if s.SecurityContext == nil || !yes(s.SecurityContext.RunAsNonRoot) || s.SecurityContext.RunAsUser == nil || *s.SecurityContext.RunAsUser == 0 ||
				s.SecurityContext.SeccompProfile == nil || s.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s may be root, or make any system call", where)
			}
			if s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken || s.HostNetwork || s.HostPID || s.HostIPC {
				t.Errorf("%s gets a token, or is not apart from its node", where)
			}
			if s.EnableServiceLinks == nil || *s.EnableServiceLinks {
				t.Errorf("%s gets variables named after services", where)
			}
			for _, c := range s.Containers {
				x := c.SecurityContext
				if x == nil || x.AllowPrivilegeEscalation == nil || *x.AllowPrivilegeEscalation || !yes(x.ReadOnlyRootFilesystem) ||
					x.Capabilities == nil || !slices.Equal(x.Capabilities.Drop, []core.Capability{"ALL"}) {
					t.Errorf("%s: %s may do more than it needs", where, c.Name)
				}
				if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().Cmp(*c.Resources.Requests.Memory()) < 0 {
					t.Errorf("%s: %s has no bounds of memory", where, c.Name)
				}
				if c.Image != "botfleet:devel" && !pinned(c.Image) {
					t.Errorf("%s: %s is no exact version", where, c.Image)
				}
				checkMounts(t, where, c, s.Volumes)
			}
		}
	}
}

func yes(b *bool) bool { return b != nil && *b }

func checkMounts(t *testing.T, where string, c core.Container, volumes []core.Volume) {
	t.Helper()
	for _, m := range c.VolumeMounts {
		claimed := m.Name == "data" && strings.Contains(where, "StatefulSet")
		if !claimed && !slices.ContainsFunc(volumes, func(v core.Volume) bool { return v.Name == m.Name }) {
			t.Errorf("%s mounts %s, which is no volume", where, m.Name)
		}
	}
}

func TestWorkersInKubernetes(t *testing.T) {
	for _, folder := range folders {
		all := built(t, folder)
		d := the[*apps.Deployment](t, all, "botfleet-worker")
		c := d.Spec.Template.Spec.Containers[0]
		set := map[string]string{}
		for _, from := range c.EnvFrom {
			for name, value := range the[*core.ConfigMap](t, all, from.ConfigMapRef.Name).Data {
				set[name] = value
			}
		}
		checkSecretsByReference(t, folder, c, set)
		shutdown := checkSettings(t, folder, set)
		checkGrace(t, folder, time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds)*time.Second, shutdown)
		checkPorts(t, folder, all, d, set)
		checkProbes(t, folder, c)
		for _, selector := range []*meta.LabelSelector{d.Spec.Selector, the[*policy.PodDisruptionBudget](t, all, d.Name).Spec.Selector} {
			checkSelects(t, folder, selector, d.Spec.Template.Labels)
		}
		budget := the[*policy.PodDisruptionBudget](t, all, d.Name).Spec
		if budget.MaxUnavailable == nil || budget.MaxUnavailable.IntValue() != 1 || budget.MinAvailable != nil {
			t.Errorf("%s: with one worker, no node could be drained", folder)
		}
		sa := the[*core.ServiceAccount](t, all, d.Spec.Template.Spec.ServiceAccountName)
		if sa.AutomountServiceAccountToken == nil || *sa.AutomountServiceAccountToken {
			t.Errorf("%s: the account has a token", folder)
		}
	}
}

// checkSecretsByReference checks that secrets come from the Secret, and adds their names to set.
func checkSecretsByReference(t *testing.T, where string, c core.Container, set map[string]string) {
	t.Helper()
	offered := envFile(t, true, deploy, "kubernetes/examples/secret.env")
	for _, e := range c.Env {
		if e.Value != "" || e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil || e.ValueFrom.SecretKeyRef.Name != "botfleet" || e.ValueFrom.SecretKeyRef.Key != e.Name {
			t.Errorf("%s: %s is not read from the Secret", where, e.Name)
			continue
		}
		optional := yes(e.ValueFrom.SecretKeyRef.Optional)
		if needed := e.Name == "REDIS_URL" || e.Name == "SECRETS_KEY"; needed == optional {
			t.Errorf("%s: %s, optional: %v", where, e.Name, optional)
		}
		if _, ok := offered[e.Name]; !ok && !optional {
			t.Errorf("secret.env has no %s", e.Name)
		}
		set[e.Name] = ""
	}
}

func checkSelects(t *testing.T, where string, s *meta.LabelSelector, on map[string]string) {
	t.Helper()
	selector, err := meta.LabelSelectorAsSelector(s)
	if err != nil || selector.Empty() || !selector.Matches(labels.Set(on)) {
		t.Errorf("%s: %v does not select %v", where, s, on)
	}
}

// checkPorts checks that the worker listens where its ports say, and that services,
// ingresses and policies name ports that are there.
func checkPorts(t *testing.T, where string, all objects, d *apps.Deployment, set map[string]string) {
	t.Helper()
	ports := map[string]int32{}
	for _, p := range d.Spec.Template.Spec.Containers[0].Ports {
		ports[p.Name] = p.ContainerPort
	}
	for name, variable := range map[string]string{"http": "HTTP_ADDR", "installs": "INSTALL_ADDR"} {
		if port, ok := ports[name]; ok != (set[variable] != "") || ok && set[variable] != fmt.Sprintf("0.0.0.0:%d", port) {
			t.Errorf("%s: port %s is %d, %s is %q", where, name, port, variable, set[variable])
		}
	}
	service := the[*core.Service](t, all, d.Name)
	checkSelects(t, where, &meta.LabelSelector{MatchLabels: service.Spec.Selector}, d.Spec.Template.Labels)
	offered := map[string]bool{}
	for _, p := range service.Spec.Ports {
		offered[p.Name] = true
		if ports[p.TargetPort.StrVal] != p.Port {
			t.Errorf("%s: the service leads %s to %s", where, p.Name, p.TargetPort.StrVal)
		}
	}
	for _, i := range of[*networking.Ingress](all) {
		backend := i.Spec.Rules[0].HTTP.Paths[0].Backend.Service
		if backend.Name != service.Name || !offered[backend.Port.Name] {
			t.Errorf("%s: the ingress leads to %s, %s", where, backend.Name, backend.Port.Name)
		}
		if i.Spec.Rules[0].Host != i.Spec.TLS[0].Hosts[0] {
			t.Errorf("%s: no certificate for %s", where, i.Spec.Rules[0].Host)
		}
	}
	let := map[string]bool{}
	for _, rule := range the[*networking.NetworkPolicy](t, all, "botfleet").Spec.Ingress {
		for _, p := range rule.Ports {
			let[p.Port.StrVal] = true
		}
		if len(rule.From) == 0 {
			t.Errorf("%s: everybody is let in", where)
		}
	}
	if len(let) != len(ports) {
		t.Errorf("%s: %v are let in, the worker has %v", where, let, ports)
	}
	for _, m := range of[*podMonitor](all) {
		checkSelects(t, where, &m.Spec.Selector, d.Spec.Template.Labels)
		if e := m.Spec.PodMetricsEndpoints[0]; ports[e.Port] == 0 || !slices.Contains(served(t), e.Path) {
			t.Errorf("%s: scrapes %s%s", where, e.Port, e.Path)
		}
	}
}

func checkProbes(t *testing.T, where string, c core.Container) {
	t.Helper()
	for _, p := range []struct {
		probe *core.Probe
		path  string
	}{{c.StartupProbe, "/healthz"}, {c.LivenessProbe, "/healthz"}, {c.ReadinessProbe, "/readyz"}} {
		if p.probe == nil || p.probe.HTTPGet == nil || p.probe.HTTPGet.Path != p.path || p.probe.HTTPGet.Port != intstr.FromString("http") {
			t.Errorf("%s: no probe of %s", where, p.path)
		}
		if !slices.Contains(served(t), p.path) {
			t.Errorf("the worker has no %s", p.path)
		}
	}
}

// What the workers may reach: of the addresses that are nobody's but the cluster's
// and the cloud's, none.
func TestEgress(t *testing.T) {
	rules := the[*networking.NetworkPolicy](t, built(t, "base"), "botfleet").Spec
	if !slices.Contains(rules.PolicyTypes, networking.PolicyTypeEgress) || len(rules.Egress) != 3 {
		t.Fatalf("%+v", rules)
	}
	reaches := func(addr string) bool {
		in := func(cidr string) bool { return netip.MustParsePrefix(cidr).Contains(netip.MustParseAddr(addr)) }
		return slices.ContainsFunc(rules.Egress[2].To, func(to networking.NetworkPolicyPeer) bool {
			return to.IPBlock != nil && in(to.IPBlock.CIDR) && !slices.ContainsFunc(to.IPBlock.Except, in)
		})
	}
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "203.0.114.5": true, "2a00:1450:4001::5": true,
		"10.1.2.3": false, "172.20.0.1": false, "192.168.1.1": false, "100.100.100.200": false,
		"169.254.169.254": false, "127.0.0.1": false, "::1": false, "fd00:ec2::254": false, "fe80::1": false, "224.0.0.1": false,
	} {
		if reaches(addr) != want {
			t.Errorf("%s is reached: %v", addr, !want)
		}
	}
	if ports := rules.Egress[2].Ports; len(ports) != 1 || ports[0].Port.IntValue() != 443 {
		t.Errorf("the world is reached on %v", ports)
	}
}

// The number of workers follows the rows that wait, never to none, and slowly down.
func TestScaling(t *testing.T) {
	all := built(t, "overlays/example")
	d := the[*apps.Deployment](t, all, "botfleet-worker")
	s := the[*scaledObject](t, all, "botfleet-worker").Spec
	if d.Spec.Replicas != nil {
		t.Error("the Deployment and KEDA both say how many there are")
	}
	if s.ScaleTargetRef.Name != d.Name || s.MinReplicaCount == nil || *s.MinReplicaCount < 1 || *s.MaxReplicaCount <= *s.MinReplicaCount {
		t.Errorf("scales %s from %v", s.ScaleTargetRef.Name, s.MinReplicaCount)
	}
	query := s.Triggers[0].Metadata.Query
	name := regexp.MustCompile(`botfleet_\w+`).FindString(query)
	if name != "botfleet_runs_rows_waiting" || !strings.HasPrefix(query, "max(") || s.Triggers[0].Metadata.IgnoreNullValues != "false" {
		t.Errorf("scales by %s", query)
	}
	defined := read(t, top, "cmd/internal/metrics/definitions.go")
	if !strings.Contains(defined, `"`+name+`"`) {
		t.Errorf("no worker has the metric %s", name)
	}
	down := s.Advanced.HorizontalPodAutoscalerConfig.Behavior.ScaleDown
	if down == nil || *down.StabilizationWindowSeconds < 300 || down.Policies[0].PeriodSeconds <= int32(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) {
		t.Errorf("down too fast: %+v", down)
	}
}

// TestInstallationsAreApart makes an overlay of one's own for another namespace: in one
// Prometheus, the alerts tell the two apart by job, and KEDA by namespace.
func TestInstallationsAreApart(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(deploy, "kubernetes"))); err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlays/example/kustomization.yaml")
	write(t, filepath.Dir(overlay), filepath.Base(overlay), strings.Replace(read(t, overlay), "namespace: botfleet\n", "namespace: staging\n", 1))
	all := builtIn(t, filepath.Dir(overlay))
	query := the[*scaledObject](t, all, "botfleet-worker").Spec.Triggers[0].Metadata.Query
	if query != `max(botfleet_runs_rows_waiting{namespace="staging"})` {
		t.Errorf("scales by %s", query)
	}
	m := the[*podMonitor](t, all, "botfleet-worker").Spec
	r := m.PodMetricsEndpoints[0].Relabelings
	if m.JobLabel != "" || len(r) != 1 || r[0].TargetLabel != "job" || r[0].Replacement != "botfleet-$1" ||
		!slices.Equal(r[0].SourceLabels, []string{"__meta_kubernetes_namespace"}) {
		t.Errorf("%+v", m)
	}
}

var update = flag.Bool("update", false, "write the PrometheusRule anew")

// The PrometheusRule has the alerts of deploy/prometheus.
func TestRulesAreTheSame(t *testing.T) {
	path := filepath.Join(deploy, "kubernetes/components/monitoring/prometheusrule.yaml")
	var want ruleFile
	if err := yaml.UnmarshalStrict([]byte(read(t, deploy, "prometheus/alerts.yaml")), &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Groups) == 0 {
		t.Fatal("no alerts")
	}
	var rule struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       ruleFile       `json:"spec"`
	}
	rule.APIVersion, rule.Kind, rule.Spec = "monitoring.coreos.com/v1", "PrometheusRule", want
	rule.Metadata = map[string]any{"name": "botfleet", "labels": map[string]string{"app.kubernetes.io/name": "botfleet"}}
	text, err := yaml.Marshal(rule)
	if err != nil {
		t.Fatal(err)
	}
	text = append([]byte("# Made of deploy/prometheus/alerts.yaml: in deploy/check, go test -run RulesAreTheSame -update\n"), text...)
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, path) != string(text) {
		t.Error("prometheusrule.yaml is not that of alerts.yaml: go test -run RulesAreTheSame -update")
	}
}

func TestExamples(t *testing.T) {
	all := examples(t)
	job := of[*batch.Job](all)[0]
	c := job.Spec.Template.Spec.Containers[0]
	for _, e := range c.Env {
		if e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil {
			t.Errorf("the Job has %s in plain sight", e.Name)
		}
	}
	checkJobsSettings(t, job)
	if slices.Contains(c.Command, "--run") || job.Spec.BackoffLimit == nil || *job.Spec.BackoffLimit != 0 {
		t.Error("the Job wants a run that does not exist yet, or is tried again, and makes a second run of the same rows")
	}
	allowed := the[*networking.NetworkPolicy](t, built(t, "base"), "botfleet").Spec.PodSelector
	checkSelects(t, "the Job", &allowed, job.Spec.Template.Labels)
	for name, value := range envFile(t, false, deploy, "kubernetes/examples/secret.env") {
		if slices.Contains(secrets, name) && value != "" {
			t.Errorf("secret.env has a value for %s", name)
		}
	}
	from := of[*externalSecret](all)[0].Spec
	if from.Target.Name != "botfleet" || len(from.Data) < 2 {
		t.Errorf("makes the Secret %s", from.Target.Name)
	}
	redis := the[*core.ConfigMap](t, built(t, "overlays/trial"), redisConfig(t))
	text := redis.Data["redis.conf"]
	for _, line := range []string{"appendonly yes\n", "maxmemory-policy noeviction\n", "maxmemory 1gb\n", "aclfile "} {
		if !strings.Contains(text, line) {
			t.Errorf("Redis is not told %q", line)
		}
	}
	dir := t.TempDir()
	write(t, dir, "users.acl", "user default on >secret ~* &* +@all\n")
	checkRedisConfig(t, strings.ReplaceAll(text, "/etc/redis-acl", dir))
}

// checkJobsSettings checks that a Job gets what the workers have: all settings, from the
// ConfigMap that its first lines lead to, and the secrets that a producer needs.
func checkJobsSettings(t *testing.T, job *batch.Job) {
	t.Helper()
	worker := the[*apps.Deployment](t, built(t, "base"), "botfleet-worker").Spec.Template.Spec.Containers[0]
	c := job.Spec.Template.Spec.Containers[0]
	if len(c.EnvFrom) != 1 || c.EnvFrom[0].ConfigMapRef == nil || len(worker.EnvFrom) != 1 {
		t.Fatalf("the Job gets %v, the workers %v", c.EnvFrom, worker.EnvFrom)
	}
	text := read(t, deploy, "kubernetes/examples/submit-job.yaml")
	for _, want := range []string{
		"get deployment botfleet-worker -o 'jsonpath={.spec.template.spec.containers[0].envFrom[0].configMapRef.name}'",
		"s/" + c.EnvFrom[0].ConfigMapRef.Name + "/$settings/",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the Job does not say %s", want)
		}
	}
	for _, e := range worker.Env {
		given := slices.ContainsFunc(c.Env, func(o core.EnvVar) bool { return reflect.DeepEqual(o, e) })
		if given == strings.HasPrefix(e.Name, "DASHBOARD_") {
			t.Errorf("the Job gets %s as the workers do: %v", e.Name, given)
		}
	}
}

// redisConfig is the name of the ConfigMap that the trial's Redis mounts.
func redisConfig(t *testing.T) string {
	t.Helper()
	volumes := the[*apps.StatefulSet](t, built(t, "overlays/trial"), "redis").Spec.Template.Spec.Volumes
	return volumes[slices.IndexFunc(volumes, func(v core.Volume) bool { return v.ConfigMap != nil })].ConfigMap.Name
}
