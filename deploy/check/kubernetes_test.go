// The Kubernetes manifests, as kustomize builds them, field by field as the types have them.

package check

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// The types of others, as far as the manifests use them: the modules that have them
// whole take minutes to build. Names and kinds are those of KEDA 2.21, of the
// Prometheus operator 0.95 and of External Secrets v1.
type scaledObject struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		ScaleTargetRef struct {
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		MinReplicaCount *int32 `json:"minReplicaCount"`
		MaxReplicaCount *int32 `json:"maxReplicaCount"`
		PollingInterval *int32 `json:"pollingInterval"`
		Fallback        struct {
			FailureThreshold int32  `json:"failureThreshold"`
			Replicas         int32  `json:"replicas"`
			Behavior         string `json:"behavior"`
		} `json:"fallback"`
		Advanced struct {
			HorizontalPodAutoscalerConfig struct {
				Behavior autoscaling.HorizontalPodAutoscalerBehavior `json:"behavior"`
			} `json:"horizontalPodAutoscalerConfig"`
		} `json:"advanced"`
		Triggers []struct {
			Type     string `json:"type"`
			Metadata struct {
				ServerAddress    string `json:"serverAddress"`
				Query            string `json:"query"`
				Threshold        string `json:"threshold"`
				IgnoreNullValues string `json:"ignoreNullValues"`
			} `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

type podMonitor struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		JobLabel            string             `json:"jobLabel"`
		Selector            meta.LabelSelector `json:"selector"`
		PodMetricsEndpoints []struct {
			Port          string `json:"port"`
			Path          string `json:"path"`
			Interval      string `json:"interval"`
			ScrapeTimeout string `json:"scrapeTimeout"`
			Relabelings   []struct {
				SourceLabels []string `json:"sourceLabels"`
				TargetLabel  string   `json:"targetLabel"`
				Replacement  string   `json:"replacement"`
			} `json:"relabelings"`
		} `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

type prometheusRule struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            ruleFile `json:"spec"`
}

type ruleFile struct {
	Groups []struct {
		Name     string `json:"name"`
		Interval string `json:"interval,omitempty"`
		Rules    []struct {
			Alert       string             `json:"alert,omitempty"`
			Record      string             `json:"record,omitempty"`
			Expr        intstr.IntOrString `json:"expr"`
			For         string             `json:"for,omitempty"`
			KeepFor     string             `json:"keep_firing_for,omitempty"`
			Labels      map[string]string  `json:"labels,omitempty"`
			Annotations map[string]string  `json:"annotations,omitempty"`
		} `json:"rules"`
	} `json:"groups"`
}

type externalSecret struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		RefreshInterval string `json:"refreshInterval"`
		SecretStoreRef  struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"secretStoreRef"`
		Target struct {
			Name string `json:"name"`
		} `json:"target"`
		Data []struct {
			SecretKey string `json:"secretKey"`
			RemoteRef struct {
				Key      string `json:"key"`
				Property string `json:"property"`
			} `json:"remoteRef"`
		} `json:"data"`
	} `json:"spec"`
}

// kinds are all that may stand in a manifest. Secrets do not.
var kinds = map[string]func() meta.Object{
	"v1/Namespace":                            func() meta.Object { return &core.Namespace{} },
	"v1/ConfigMap":                            func() meta.Object { return &core.ConfigMap{} },
	"v1/Service":                              func() meta.Object { return &core.Service{} },
	"v1/ServiceAccount":                       func() meta.Object { return &core.ServiceAccount{} },
	"apps/v1/Deployment":                      func() meta.Object { return &apps.Deployment{} },
	"apps/v1/StatefulSet":                     func() meta.Object { return &apps.StatefulSet{} },
	"batch/v1/Job":                            func() meta.Object { return &batch.Job{} },
	"networking.k8s.io/v1/NetworkPolicy":      func() meta.Object { return &networking.NetworkPolicy{} },
	"networking.k8s.io/v1/Ingress":            func() meta.Object { return &networking.Ingress{} },
	"policy/v1/PodDisruptionBudget":           func() meta.Object { return &policy.PodDisruptionBudget{} },
	"keda.sh/v1alpha1/ScaledObject":           func() meta.Object { return &scaledObject{} },
	"monitoring.coreos.com/v1/PodMonitor":     func() meta.Object { return &podMonitor{} },
	"monitoring.coreos.com/v1/PrometheusRule": func() meta.Object { return &prometheusRule{} },
	"external-secrets.io/v1/ExternalSecret":   func() meta.Object { return &externalSecret{} },
}

// objects are what a manifest has, decoded; a field that a type does not know is an error.
type objects []meta.Object

func decode(t *testing.T, manifest string) (all objects) {
	t.Helper()
	for _, doc := range bytes.Split([]byte(manifest), []byte("\n---\n")) {
		var head meta.TypeMeta
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatal(err)
		}
		kind, ok := kinds[head.APIVersion+"/"+head.Kind]
		if !ok {
			t.Errorf("a %s %s: no manifest should have one", head.APIVersion, head.Kind)
			continue
		}
		object := kind()
		if err := yaml.UnmarshalStrict(doc, object); err != nil {
			t.Errorf("%s: %v\n%s", head.Kind, err, doc)
		}
		all = append(all, object)
	}
	return all
}

// built is what kustomize makes of a folder below deploy/kubernetes.
func built(t *testing.T, folder string) objects {
	t.Helper()
	return builtIn(t, filepath.Join(deploy, "kubernetes", folder))
}

func builtIn(t *testing.T, folder string) objects {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatalf("%s: %v", folder, err)
	}
	text, err := made.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(text))
}

// of returns the objects of one type.
func of[T meta.Object](all objects) (some []T) {
	for _, o := range all {
		if o, ok := o.(T); ok {
			some = append(some, o)
		}
	}
	return some
}

// the returns the only object of a type that has a name.
func the[T meta.Object](t *testing.T, all objects, name string) T {
	t.Helper()
	some := of[T](all)
	i := slices.IndexFunc(some, func(o T) bool { return o.GetName() == name })
	if i < 0 {
		t.Fatalf("no %T %s", *new(T), name)
	}
	return some[i]
}

var folders = []string{"base", "overlays/trial", "overlays/example"}

// examples are the manifests that are applied by themselves.
func examples(t *testing.T) (all objects) {
	t.Helper()
	for _, name := range []string{"submit-job.yaml", "external-secret.yaml"} {
		all = append(all, decode(t, read(t, deploy, "kubernetes/examples", name))...)
	}
	return all
}
