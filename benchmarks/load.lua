-- Posts every image of a list in turn and counts the answers that are not 200.
-- wrk -s load.lua URL -- LIST raw|multipart|kserve      (LIST: a file with one path on each line)

local boundary = "sightline-bench-7d1f0a"
local threads = {}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

local function multipart(name, content)
  return "--" .. boundary .. "\r\n"
    .. 'Content-Disposition: form-data; name="file"; filename="' .. name .. '"\r\n'
    .. "Content-Type: image/jpeg\r\n\r\n"
    .. content .. "\r\n--" .. boundary .. "--\r\n"
end

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local list, kind = arguments[1], arguments[2]
  local headers = { ["Content-Type"] = "image/jpeg" }
  if kind == "multipart" then
    headers["Content-Type"] = "multipart/form-data; boundary=" .. boundary
  end
  if kind == "kserve" then
    headers["Inference-Header-Content-Length"] = "0"
  end
  requests = {}
  for path in io.lines(list) do
    local body = read(path)
    if kind == "multipart" then
      body = multipart(path:match("[^/]+$"), body)
    end
    -- Formatted once here, so that sending costs no more than the copy to the socket.
    table.insert(requests, wrk.format("POST", nil, headers, body))
  end
  position = 0
  refused = 0
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function response(status)
  if status ~= 200 then
    refused = refused + 1
  end
end

function done(summary, latency)
  local refused_in_all = 0
  for _, thread in ipairs(threads) do
    refused_in_all = refused_in_all + thread:get("refused")
  end
  local errors = summary.errors
  io.write(string.format(
    '\n{"answers": %d, "seconds": %.6f, "not_200": %d, "socket_errors": %d, '
      .. '"p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, refused_in_all,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3
  ))
end
