// Validates the Kubernetes resources of standard input, a JSON list, by the models that
// @kubernetes-models publishes of the operators' own definitions. Prints a JSON list of complaints.
import { readFileSync } from "node:fs";

const FOLDERS = {
  "cert-manager.io/v1": "@kubernetes-models/cert-manager/cert-manager.io/v1",
  "keda.sh/v1alpha1": "@kubernetes-models/keda/keda.sh/v1alpha1",
  "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
  "postgresql.cnpg.io/v1": "@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1",
};
const complaints = [];
for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  const models = await import(`${FOLDERS[resource.apiVersion]}/index`);
  try {
    new models[resource.kind](resource).validate();
  } catch (error) {
    complaints.push(`${resource.kind} ${resource.metadata.name}: ${error.message}`);
  }
}
console.log(JSON.stringify(complaints));
