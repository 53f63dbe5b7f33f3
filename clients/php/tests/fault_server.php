<?php

declare(strict_types=1);

// A server that does, to one client, what a relay cannot be made to do. Called with the name of a
// fault; prints its port. Not part of the tests' code: runs in a process of its own.

const READY = '{"opcode":"ready","os":"Linux","uuid":"fault"}';
const NEXT = '{"opcode":"next","uuid":"","fyi":""}';

/** A WebSocket frame as servers send it. */
function frame(string $payload, int $opcode = 1, bool $final = true): string
{
    $length = strlen($payload);
    $head = chr(($final ? 0x80 : 0) | $opcode);
    return $head . match (true) {
        $length < 126 => chr($length),
        $length < 65_536 => chr(126) . pack('n', $length),
        default => chr(127) . pack('J', $length),
    } . $payload;
}

/** @param resource $client */
function head($client): string
{
    $head = '';
    while (!str_ends_with($head, "\r\n\r\n")) {
        $byte = fread($client, 1);
        if ($byte === '' || $byte === false) {
            exit(1);
        }
        $head .= $byte;
    }
    return $head;
}

/** The 101 for this request. */
function accept(string $head): string
{
    preg_match('/^Sec-WebSocket-Key: (\S+)/mi', $head, $found);
    $accept = base64_encode(sha1($found[1] . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11', true));
    return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        . "Sec-WebSocket-Accept: $accept\r\n\r\n";
}

/** One masked frame of a client: opcode and payload. @param resource $client */
function heard($client): array
{
    $take = static function (int $count) use ($client): string {
        $bytes = '';
        while (strlen($bytes) < $count) {
            $more = fread($client, $count - strlen($bytes));
            if ($more === '' || $more === false) {
                exit(1);
            }
            $bytes .= $more;
        }
        return $bytes;
    };
    [, $first, $second] = unpack('C2', $take(2));
    $length = $second & 127;
    $length = $length === 126 ? unpack('n', $take(2))[1] : ($length === 127 ? unpack('J', $take(8))[1] : $length);
    $mask = $take(4);
    $payload = $length === 0 ? '' : $take($length);
    return [$first & 15, $payload ^ str_repeat($mask, intdiv($length, 4) + 1)];
}

/** Reads whatever comes, up to the end. @param resource $client */
function drain($client): void
{
    while (!feof($client) && fread($client, 65_536) !== false) {
        continue;
    }
}

$fault = $argv[1];
$context = stream_context_create(isset($argv[2]) ? ['ssl' => ['local_cert' => $argv[2]]] : []);
$flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;
$server = stream_socket_server('tcp://127.0.0.1:0', $number, $error, $flags, $context);
echo substr(strrchr(stream_socket_get_name($server, false), ':'), 1), "\n";
if ($fault === 'never accepts') {
    // The system completes the connection; nobody is there to say a word.
    fgets(STDIN);
    exit;
}
$client = stream_socket_accept($server, 60);
stream_set_timeout($client, 60);
switch ($fault) {
    case 'says nothing':
        drain($client);
        break;
    case 'no relay':
        fwrite($client, "SSH-2.0-OpenSSH_9.2\r\n");
        drain($client);
        break;
    case 'no ready':
        fwrite($client, '{"hello":"there"}');
        drain($client);
        break;
    case 'refuses':
        head($client);
        fwrite($client, '{"opcode":"close","error":"not today"}');
        break;
    case 'http 404':
        head($client);
        fwrite($client, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
        break;
    case 'wrong accept':
        head($client);
        fwrite($client, accept("Sec-WebSocket-Key: x\r\n"));
        drain($client);
        break;
    case 'the name is taken':
        // To the first client; the second has it.
        $taken = '{"opcode":"error","code":"ident_taken","message":"somebody has it","ref":"connect"}';
        head($client);
        fwrite($client, READY . $taken);
        fread($client, 65_536);
        fwrite($client, NEXT);
        $again = stream_socket_accept($server, 60);
        head($again);
        fwrite($again, READY);
        fread($again, 65_536);
        fwrite($again, '{"opcode":"x","n":1}' . NEXT);
        fread($again, 65_536);
        fwrite($again, NEXT);
        drain($again);
        break;
    case 'no ack':
        head($client);
        fwrite($client, READY);
        drain($client);
        break;
    case 'reads nothing':
        head($client);
        fwrite($client, READY);
        fgets(STDIN);
        break;
    case 'dies in a message':
        head($client);
        fwrite($client, READY);
        fread($client, 65_536);
        fwrite($client, '{"opcode":"next","uu');
        break;
    case 'dies in a frame':
        fwrite($client, accept(head($client)) . frame(READY));
        heard($client);
        fwrite($client, substr(frame(NEXT), 0, 9));
        break;
    case 'resets':
        head($client);
        fwrite($client, READY);
        fread($client, 1);
        // Closed with unread input: the system says RST.
        break;
    case 'one byte at a time':
        head($client);
        $text = '{"opcode":"x","text":"žluťoučký kůň 🐎 \"}{\\\\","n":1}';
        foreach (str_split(READY . $text . "\n " . $text) as $byte) {
            fwrite($client, $byte);
            usleep(100);
        }
        drain($client);
        break;
    case 'fills both sides':
        // Talks and does not listen until all is said.
        head($client);
        fwrite($client, READY);
        fwrite($client, '{"opcode":"x","text":"' . str_repeat('x', 12_000_000) . '"}');
        $size = 0;
        while ($size < 40_000_000) {
            $size += strlen(fread($client, 65_536));
        }
        fwrite($client, NEXT);
        drain($client);
        break;
    case 'late ack':
        head($client);
        fwrite($client, READY);
        fread($client, 65_536);
        fgets(STDIN);
        fwrite($client, NEXT);
        $again = stream_socket_accept($server, 60);
        head($again);
        fwrite($again, READY);
        fread($again, 65_536);
        fwrite($again, '{"opcode":"x","is":"second"}' . NEXT);
        drain($again);
        break;
    case 'speaks and leaves':
        head($client);
        fwrite($client, READY . '{"opcode":"x","n":1}');
        fclose($client);
        echo "left\n";
        $again = stream_socket_accept($server, 60);
        head($again);
        fwrite($again, READY);
        fread($again, 65_536);
        fwrite($again, NEXT);
        drain($again);
        break;
    case 'all in one write':
        fwrite($client, accept(head($client)) . frame(READY) . frame('{"opcode":"x","n":1}')
            . frame('ping!', 9) . frame('{"opcode":"x",', 1, false) . frame('', 9) . frame('"n":', 0, false)
            . frame('2}', 0));
        $heard = [heard($client), heard($client)];
        fwrite($client, frame(json_encode(['opcode' => 'heard', 'frames' => $heard])));
        drain($client);
        break;
    case 'answers and closes':
        fwrite($client, accept(head($client)) . frame(READY));
        fgets(STDIN);
        fwrite($client, frame(NEXT) . frame("\x03\xE8", 8));
        echo "said\n";
        drain($client);
        break;
    case 'garbage frame':
        fwrite($client, accept(head($client)) . frame(READY) . frame('{"opcode":"x"}') . "\xff\xff");
        $heard = heard($client);
        fwrite(STDOUT, json_encode([$heard[0], unpack('n', $heard[1])[1]]) . "\n");
        break;
    case 'tls':
        stream_socket_enable_crypto($client, true, STREAM_CRYPTO_METHOD_TLS_SERVER);
        drain($client);
        break;
    default:
        exit(64);
}
