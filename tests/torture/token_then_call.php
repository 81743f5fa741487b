<?php
// An app in PHP as the sample in PandaDoc's PHP SDK does it: fetch a token, then call the API with what was given.
// It has a base URL, and one secret: the key that the proxy knows it by.

function ask(string $method, string $path, array $headers, string $body = ''): array
{
    $context = stream_context_create(['http' => [
        'method' => $method,
        'header' => $headers,
        'content' => $body,
        'ignore_errors' => true,
        'timeout' => 10,
    ]]);
    $answer = file_get_contents(getenv('BASE_URL') . $path, false, $context);
    preg_match('{ (\d{3}) }', $http_response_header[0], $status);

    return [(int) $status[1], json_decode($answer, true)];
}

function token(array $grant): array
{
    $form = http_build_query($grant + [
        'client_id' => 'clientId_example',
        'client_secret' => getenv('APP_KEY'),
        'scope' => 'read+write',
    ]);

    return ask('POST', '/oauth2/access_token', [
        'Content-Type: application/x-www-form-urlencoded',
        'Accept: application/json',
        'Authorization: API-Key YOUR_API_KEY', // the sample configures both
    ], $form);
}

[$status, $token] = token(['grant_type' => 'authorization_code', 'code' => 'code_example']);
$told['token'] = [$status, array_keys($token)];
$bearer = ['Accept: application/json', 'Authorization: Bearer ' . ($token['access_token'] ?? '')];
$told['documents'] = ask('GET', '/public/v1/documents', $bearer)[0];
$created = ask('POST', '/public/v1/documents', [...$bearer, 'Content-Type: application/json'], '{"name": "From PHP"}');
$told['created'] = [$created[0], $created[1]['status'] ?? $created[1]];

[$status, $token] = token(['grant_type' => 'refresh_token', 'refresh_token' => $token['refresh_token'] ?? '']);
$told['refreshed'] = $status;
$told['member'] = ask('GET', '/public/v1/members/current', ['Authorization: Bearer ' . ($token['access_token'] ?? '')])[0];

echo json_encode($told), PHP_EOL;
