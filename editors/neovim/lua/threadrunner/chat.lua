-- :ThreadRunner — a conversation in a scratch buffer, streamed; and rewriting lines by instruction.

local M = {}

local buffer
local running -- the answer that comes: {client, id, stream}
local history = {}
local streams = 0

local function there()
  return buffer and vim.api.nvim_buf_is_loaded(buffer)
end

local function window()
  if not there() then
    if buffer and vim.api.nvim_buf_is_valid(buffer) then
      vim.api.nvim_buf_delete(buffer, { force = true }) -- what :bdelete has left: a name, and none of its options
    end
    buffer = vim.api.nvim_create_buf(false, true)
    vim.api.nvim_buf_set_name(buffer, 'ThreadRunner')
    vim.bo[buffer].bufhidden = 'hide'
    pcall(vim.api.nvim_set_option_value, 'filetype', 'markdown', { buf = buffer }) -- a plugin for it that fails costs colours
    history = {}
  end
  local open = vim.fn.bufwinid(buffer)
  if open == -1 then
    vim.cmd('botright vertical sbuffer ' .. buffer)
    vim.wo.wrap, vim.wo.linebreak = true, true
    vim.cmd.wincmd('p')
    open = vim.fn.bufwinid(buffer)
  end
  return open
end

local function append(text)
  if not there() then
    return
  end
  local last = vim.api.nvim_buf_line_count(buffer) - 1
  local column = #vim.api.nvim_buf_get_lines(buffer, last, last + 1, false)[1]
  vim.api.nvim_buf_set_text(buffer, last, column, last, column, vim.split(text, '\n', { plain = true }))
  local open = vim.fn.bufwinid(buffer)
  if open ~= -1 then
    vim.api.nvim_win_set_cursor(open, { vim.api.nvim_buf_line_count(buffer), 0 })
  end
end

function M.token(params)
  if running and params.stream == running.stream then
    append(params.text)
  end
end

-- An answer is complete, has failed or was stopped. Whatever is heard of it afterwards is not of the one that comes now.
local function over(answer, text)
  if running ~= answer then
    return
  end
  running = nil
  append(text)
  vim.api.nvim_exec_autocmds('User', { pattern = 'ThreadRunnerAnswered', modeline = false })
end

local function note(text)
  return '\n*' .. text .. '*\n\n'
end

local function span(client, args)
  local last = vim.api.nvim_buf_get_lines(0, args.line2 - 1, args.line2, false)[1] or ''
  return {
    start = { line = args.line1 - 1, character = 0 },
    ['end'] = { line = args.line2 - 1, character = vim.str_utfindex(last, client.offset_encoding) },
  }
end

local function ask(client, args)
  M.stop()
  window()
  streams = streams + 1
  history[#history + 1] = { role = 'user', content = args.args }
  local asked = { messages = vim.deepcopy(history), stream = streams }
  if args.range > 0 then
    asked.uri = vim.uri_from_bufnr(0)
    asked.range = span(client, args)
  end
  append('## ' .. args.args .. '\n\n')
  local answer = { client = client, stream = streams }
  running = answer
  local sent, id = client:request('workspace/executeCommand', {
    command = 'threadrunner.chat',
    arguments = { asked },
  }, function(problem, result)
    if not problem and running == answer then
      history[#history + 1] = { role = 'assistant', content = result.text }
    end
    over(answer, problem and note(problem.message) or '\n\n')
  end)
  answer.id = id
  if not sent then
    over(answer, note('the server has ended; it is started again'))
  end
end

function M.stop()
  local answer = running
  if answer then
    answer.client:cancel_request(answer.id)
    over(answer, note('stopped'))
  end
end

-- A server is gone, and will answer nothing.
function M.forget(client_id)
  if running and running.client.id == client_id then
    over(running, note('the server ended'))
  end
end

function M.command(args)
  local client = vim.lsp.get_clients({ name = 'threadrunner' })[1]
  if not client then
    return vim.notify('ThreadRunner: no server runs; open a file, or see :checkhealth vim.lsp', vim.log.levels.WARN)
  end
  local verb, instruction = args.args:match('^(%S*)%s*(.*)$')
  if verb == '' then
    window()
  elseif verb == 'stop' and instruction == '' then
    M.stop()
  elseif verb == 'status' and instruction == '' then
    client:request('threadrunner/status', vim.empty_dict(), function(_, result)
      vim.notify(vim.inspect(result))
    end)
  elseif verb == 'rewrite' and instruction ~= '' then
    client:request('workspace/executeCommand', {
      command = 'threadrunner.rewrite',
      arguments = { vim.uri_from_bufnr(0), span(client, args), instruction },
    }, function(problem)
      if problem then
        vim.notify('ThreadRunner: ' .. problem.message, vim.log.levels.WARN)
      end
      vim.api.nvim_exec_autocmds('User', { pattern = 'ThreadRunnerAnswered', modeline = false })
    end)
  else
    ask(client, args)
  end
end

return M
