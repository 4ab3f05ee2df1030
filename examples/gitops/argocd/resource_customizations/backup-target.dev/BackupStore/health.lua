-- The status follows kstatus (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus): Reconciling and Stalled
-- are there only while they are true, Ready sums up, and observedGeneration says which spec all of it is about.
local health = { status = "Progressing", message = "Waiting for the operator" }
if obj.status == nil or obj.status.conditions == nil then
  return health
end
-- What is said is about an older spec, or about none yet.
if obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  conditions[condition.type] = condition
end
local function is_true(type)
  return conditions[type] ~= nil and conditions[type].status == "True"
end

if is_true("Reconciling") then
  health.message = conditions.Reconciling.message
elseif is_true("Stalled") then
  health.status = "Degraded"
  health.message = conditions.Stalled.message
elseif is_true("Ready") then
  health.status = "Healthy"
  health.message = conditions.Ready.message
elseif conditions.Ready ~= nil then
  health.message = conditions.Ready.message
end
return health
